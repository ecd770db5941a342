"""Which cell of a study is exported: one by its name, or the best."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tracker.study.errors import TrackerError, UsageError
from tracker.study.metrics import SELECTION
from tracker.study.recipe import RECIPE_KEYS
from tracker.study.study import REPLICATE_AXIS, Cell, Study
from tracker.tracking.records import RunRecord

BEST = "best"
TEST_KEYS = ("dataset", "shift", "limit_test")
"""Keys that decide which images an accuracy is of: across their values accuracies do not compare."""


@dataclass(frozen=True)
class Choice:
    """The cell that is exported, and why it is that one.

    Args:
        run: the newest that finished.
        metric: the accuracy it was looked at by.
        value: a fraction.
        test_images: how many images that is the mean of, where the run says so.
        reasons: sentences.
    """

    cell: Cell
    run: RunRecord
    metric: str
    value: float
    test_images: int | None
    reasons: tuple[str, ...]


def choose(
    study: Study, runs: Sequence[RunRecord], word: str, metric: str, where: Mapping[str, str] | None = None
) -> Choice:
    """Choose a cell of a study.

    The best is of the configuration with the highest mean over its seeds, and of those the seed
    with the highest value; of equals the first of the grid.

    Args:
        runs: the study's, oldest first.
        word: `best`, a cell's id or the first digits of it, or its name.
        metric: one of `RANKING_METRICS`.
        where: recipe keys and the values they must have, as text; narrows what `best` is taken of.

    Raises:
        UsageError: no such cell, or several; no such key or value; the accuracies do not compare.
        TrackerError: the cell has not finished, or no cell has.
    """
    newest = {run.cell_id: run for run in runs}
    finished = {run.cell_id: run for run in runs if run.status == "FINISHED"}
    if word != BEST:
        if where:
            raise UsageError("--where goes with --cell best", "one cell needs no narrowing")
        cell = _named(study, word)
        return _choice(cell, _finished(study, cell, newest, finished, metric), metric, ())
    cells = _narrowed(study, where or {})
    measured = [cell for cell in cells if cell.id in finished and metric in finished[cell.id].metrics]
    if not measured:
        if any(cell.id in finished for cell in cells):
            raise _without_metric(metric, f"no finished cell of study {study.name}")
        raise TrackerError(
            f"no cell of study {study.name}{_of(where)} has finished", f"tracker sweep --study {study.name}"
        )
    _check_comparable(study, cells)
    return _best(study, cells, measured, finished, metric, where)


def _best(
    study: Study,
    cells: Sequence[Cell],
    measured: Sequence[Cell],
    finished: Mapping[str, RunRecord],
    metric: str,
    where: Mapping[str, str] | None,
) -> Choice:
    replicates: dict[str, list[Cell]] = {}
    for cell in measured:
        replicates.setdefault(cell.configuration_name, []).append(cell)

    def value(cell: Cell) -> float:
        return finished[cell.id].metrics[metric]

    means = {name: statistics.mean(map(value, group)) for name, group in replicates.items()}
    name = max(means, key=means.__getitem__)  # of equals the first
    group = replicates[name]
    cell = max(group, key=value)
    reasons = [f"best of study {study.name}{_of(where)} by {metric}, {SELECTION[metric]}:"]
    if len(group) > 1:
        spread = f"sample SD {100 * statistics.stdev(map(value, group)):.2f}"
        reasons += [
            f"configuration {name}, of {len(means)}: mean {100 * means[name]:.2f} %, n = {len(group)} seeds, {spread}",
            f"of its seeds {REPLICATE_AXIS}={cell.recipe.seed}, the highest. It was picked on the test images, "
            f"as the best of {len(group)}: expect the configuration's mean of it, not {100 * value(cell):.2f} %",
        ]
    else:
        reasons.append(f"configuration {name}, of {len(means)}: {100 * means[name]:.2f} % with its one seed, n = 1")
    if left := len(cells) - len(measured):
        reasons.append(f"{left} of {len(cells)} cells have no {metric} and were not looked at")
    return _choice(cell, finished[cell.id], metric, tuple(reasons))


def _choice(cell: Cell, run: RunRecord, metric: str, reasons: tuple[str, ...]) -> Choice:
    told = run.tags.get("tracker.test_images", "")
    return Choice(cell, run, metric, run.metrics[metric], int(told) if told.isdecimal() else None, reasons)


def _named(study: Study, word: str) -> Cell:
    found = [cell for cell in study.cells if cell.name == word]
    if not found and set(word) <= set("0123456789abcdef"):
        found = [cell for cell in study.cells if cell.id.startswith(word)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{cell.id} {cell.name}" for cell in (found or study.cells)[:4])
    more = ", ..." if len(found or study.cells) > 4 else ""
    what = f"{len(found)} cells of study {study.name} begin with" if found else f"study {study.name} has no cell"
    raise UsageError(f"{what} {word!r}", f"accepted: best, or an id or name, as {listed}{more}")


def _finished(
    study: Study, cell: Cell, newest: Mapping[str, RunRecord], finished: Mapping[str, RunRecord], metric: str
) -> RunRecord:
    run = finished.get(cell.id)
    if run is None:
        state = {"RUNNING": "is still running", "FAILED": "failed", "KILLED": "was stopped"}
        what = state.get(newest[cell.id].status, "has not finished") if cell.id in newest else "has not run"
        raise TrackerError(f"cell {cell.id} ({cell.name}) {what}", f"tracker status --study {study.name}")
    if metric not in run.metrics:
        raise _without_metric(metric, f"cell {cell.id} ({cell.name})")
    return run


def _without_metric(metric: str, what: str) -> UsageError:
    hint = "; it needs a validation split, val_fraction" if metric == "selected_acc" else ""
    return UsageError(f"{what} has no {metric}", f"choose another --metric{hint}")


def _narrowed(study: Study, where: Mapping[str, str]) -> list[Cell]:
    cells = list(study.cells)
    for key, wanted in where.items():
        if key not in RECIPE_KEYS:
            raise UsageError(
                f"--where {key}={wanted}: a recipe has no key {key!r}", f"accepted: {', '.join(study.axes)}"
            )
        there = list(dict.fromkeys(str(getattr(cell.recipe, key)) for cell in cells))
        cells = [cell for cell in cells if str(getattr(cell.recipe, key)) == wanted]
        if not cells:
            raise UsageError(f"--where {key}={wanted}: no cell of study {study.name}", f"accepted: {', '.join(there)}")
    return cells


def _check_comparable(study: Study, cells: Sequence[Cell]) -> None:
    for key in TEST_KEYS:
        values = list(dict.fromkeys(getattr(cell.recipe, key) for cell in cells))
        if len(values) > 1:
            listed = ", ".join(map(str, values))
            raise UsageError(
                f"study {study.name} has several values of {key} ({listed}), and accuracies on different test images "
                "do not compare",
                f"choose one: --where {key}={values[0]}",
            )


def _of(where: Mapping[str, str] | None) -> str:
    return "".join(f", {key}={value}" for key, value in (where or {}).items())
