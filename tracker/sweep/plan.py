"""A study set against what is done: what is left, and what it will cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table

from tracker.ledger.ledger import Ledger
from tracker.study.errors import DeviceError
from tracker.study.home import Home
from tracker.study.recipe import Scalar
from tracker.study.study import Cell, Study
from tracker.sweep.estimate import Estimate, estimate_cost
from tracker.sweep.preflight import check_models
from tracker.sweep.progress import clock
from tracker.training.device import resolve_device
from tracker.vision.datasets import datasets_of, describe


@dataclass(frozen=True)
class Plan:
    """A study set against what the ledger knows.

    Args:
        done: complete cells.
        to_do: the others, in grid order.
        running: ids of cells another process works on right now.
    """

    study: Study
    done: tuple[Cell, ...]
    to_do: tuple[Cell, ...]
    running: frozenset[str]
    seconds_by_cell: dict[str, float]


def make_plan(study: Study, home: Home) -> Plan:
    """Compare a study with the ledger; nothing is written where there is no ledger yet."""
    complete: dict[str, float] = {}
    running: set[str] = set()
    if home.trials_db.exists():
        with Ledger.local(home) as ledger:
            rows = ledger.rows(study.name, in_grid=False)  # a cell that comes back into the grid is still done
        for row in rows:
            if row.state == "COMPLETE":
                complete[row.cell_id] = row.seconds or 0.0
            elif row.state == "RUNNING" and not row.expired:
                running.add(row.cell_id)
    return Plan(
        study=study,
        done=tuple(cell for cell in study.cells if cell.id in complete),
        to_do=tuple(cell for cell in study.cells if cell.id not in complete),
        running=frozenset(running),
        seconds_by_cell={cell_id: seconds for cell_id, seconds in complete.items() if seconds},
    )


def estimate_plan(plan: Plan, home: Home, device: str, workers: int, say: Callable[[str], None]) -> Estimate | str:
    """Estimate what is left of a plan; a sentence where the device it is meant for is not here.

    Raises:
        UsageError: torchvision has no such model.
    """
    check_models(plan.study)
    try:
        resolved = resolve_device(device)
    except DeviceError as error:
        return f"unknown: {error.message}"
    return estimate_cost(plan.to_do, plan.seconds_by_cell, plan.done, home, resolved, workers, say)


def describe_plan(plan: Plan, estimate: Estimate | str, home: Home) -> RenderableType:
    """Return a dry run's answer: the grid, what is done and left, time and disk, and what is missing."""
    study = plan.study
    head = Table.grid(padding=(0, 2))
    head.add_row("study", study.name)
    head.add_row("question", study.question)
    for axis, values in study.axes.items():
        head.add_row(axis, ", ".join(str(value) for value in values))
    held = ", ".join(f"{key}={value}" for key, value in study.recipe.items())
    head.add_row("recipe", held)
    running = f", {len(plan.running)} of these running elsewhere" if plan.running else ""
    head.add_row("cells", f"{len(study.cells)}: {len(plan.done)} done, {len(plan.to_do)} to do{running}")
    if isinstance(estimate, str):
        head.add_row("estimated time", estimate)
    elif plan.to_do:
        known = "unknown" if estimate.seconds is None else f"about {clock(estimate.seconds)}"
        head.add_row("estimated time", f"{known} ({estimate.basis})")
        head.add_row("estimated disk", f"about {estimate.disk_bytes / 1e6:,.0f} MB")
    for name, spec in datasets_of(plan.to_do).items():
        state = describe(name, spec, home)
        if state.state == "missing":
            head.add_row("missing", f"dataset {name}: {state.cure}")

    return Group(head, "", _grid(plan))


def _grid(plan: Plan) -> Table:
    """Return done/all by normalization, a row for each value of the other axes."""
    axes = [axis for axis in plan.study.axes if axis not in ("normalization", "seed")]
    settings = list(dict.fromkeys(cell.recipe.normalization for cell in plan.study.cells))
    total: Counter[tuple[tuple[Scalar, ...], str]] = Counter()
    done: Counter[tuple[tuple[Scalar, ...], str]] = Counter()
    for cells, counter in ((plan.study.cells, total), (plan.done, done)):
        counter.update((tuple(cell.point[axis] for axis in axes), cell.recipe.normalization) for cell in cells)
    grid = Table(box=None, pad_edge=False, title="cells done / all", title_justify="left")
    for axis in axes:
        grid.add_column(axis)
    for setting in settings:
        grid.add_column(setting, justify="right")
    for row in dict.fromkeys(key for key, _ in total):
        counts = [f"{done[row, setting]}/{total[row, setting]}" for setting in settings]
        grid.add_row(*(str(value) for value in row), *counts)
    return grid
