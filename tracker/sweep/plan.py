"""A study set against what is done: what is left, and what it will cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table

from tracker.ledger.opening import existing_ledger
from tracker.study.errors import DeviceError
from tracker.study.home import Home
from tracker.study.recipe import Scalar
from tracker.study.study import Cell, Study
from tracker.sweep.estimate import Estimate, estimate_cost
from tracker.sweep.preflight import check_models
from tracker.sweep.progress import clock
from tracker.sweep.workers.cell import Keep
from tracker.training.device import resolve_device
from tracker.vision.datasets import datasets_of, describe


@dataclass(frozen=True)
class Plan:
    """A study set against what the ledger knows.

    Args:
        done: complete cells.
        to_do: those that wait or run, in grid order.
        running: ids of cells another process works on right now.
        failed, cancelled: how many cells wait for `tracker retry`.
    """

    study: Study
    done: tuple[Cell, ...]
    to_do: tuple[Cell, ...]
    running: frozenset[str]
    seconds_by_cell: dict[str, float]
    failed: int = 0
    cancelled: int = 0

    def counts(self) -> str:
        """Say how far the study is: `24 cells, 3 done, 1 failed, 20 to do`."""
        parts = [f"{len(self.study.cells)} cells", f"{len(self.done)} done"]
        stuck = {"failed": self.failed, "cancelled": self.cancelled}
        return ", ".join([*parts, *(f"{n} {word}" for word, n in stuck.items() if n), f"{len(self.to_do)} to do"])


def make_plan(study: Study, home: Home, storage: str | None = None, replace: bool = False) -> Plan:
    """Compare a study with the ledger; nothing is written where there is no ledger yet.

    Args:
        storage: URL of the trial database; None for the local one.
        replace: a changed recipe is meant.

    Raises:
        RecipeChanged: the study has results of another recipe.
    """
    complete: dict[str, float] = {}
    of_state: dict[str, set[str]] = {"FAIL": set(), "PRUNED": set(), "RUNNING": set()}
    ledger = existing_ledger(home, storage)
    if ledger is not None:
        with ledger:
            if not replace:
                ledger.check_recipe(study)
            rows = ledger.rows(study.name, in_grid=False)  # a cell that comes back into the grid is still done
        for row in rows:
            if row.state == "COMPLETE":
                complete[row.cell_id] = row.seconds or 0.0
            elif row.state in of_state and not row.expired:
                of_state[row.state].add(row.cell_id)
    stuck = of_state["FAIL"] | of_state["PRUNED"]
    return Plan(
        study=study,
        done=tuple(cell for cell in study.cells if cell.id in complete),
        to_do=tuple(cell for cell in study.cells if cell.id not in complete and cell.id not in stuck),
        running=frozenset(of_state["RUNNING"]),
        seconds_by_cell={cell_id: seconds for cell_id, seconds in complete.items() if seconds},
        failed=sum(cell.id in of_state["FAIL"] for cell in study.cells),
        cancelled=sum(cell.id in of_state["PRUNED"] for cell in study.cells),
    )


def estimate_plan(
    plan: Plan, home: Home, device: str, workers: int, keep: Keep, say: Callable[[str], None]
) -> Estimate | str:
    """Estimate what is left of a plan; a sentence where the device it is meant for is not here, or cannot do it.

    Raises:
        UsageError: torchvision has no such model.
    """
    check_models(plan.study)
    try:
        resolved = resolve_device(device)
        return estimate_cost(plan.to_do, plan.seconds_by_cell, plan.done, home, resolved, workers, keep, say)
    except DeviceError as error:
        return f"unknown: {error.message}"


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
    head.add_row("cells", f"{plan.counts().replace(' cells,', ':', 1)}{running}")
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
