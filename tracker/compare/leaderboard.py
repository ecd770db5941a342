"""From a study and its runs to a leaderboard: every cell is looked up, none is left out."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from scipy.stats import rankdata

from tracker.compare.comparison import Rules
from tracker.compare.grading import Grades
from tracker.compare.guard import conditions_of
from tracker.compare.inference import with_comparisons
from tracker.compare.notes import notes_on
from tracker.compare.overall import rank_over_datasets, summarize
from tracker.compare.scores import Delta, Leaderboard, Outcome, Row, Score, State
from tracker.significance.ranks import TIE_DIGITS
from tracker.study.errors import UsageError
from tracker.study.metrics import RANKING_METRICS, SELECTION
from tracker.study.recipe import Scalar
from tracker.study.study import REPLICATE_AXIS, Cell, Study

if TYPE_CHECKING:
    from tracker.tracking.records import RunRecord

STATES: dict[str, State] = {"RUNNING": "running", "SCHEDULED": "running", "KILLED": "stopped", "FAILED": "failed"}
"""What an unfinished run's MLflow status makes of its cell."""


def build_leaderboard(
    study: Study,
    runs: Iterable[RunRecord],
    metric: str = "best_acc",
    baseline: str | None = None,
    *,
    grades: Grades = MappingProxyType({}),
    rules: Rules | None = None,
) -> Leaderboard:
    """Look up every cell of a study among its runs and compare the normalizations.

    A cell's newest finished run counts; without one, its newest run tells what became of it.

    Args:
        study: the grid as it is defined now.
        runs: the study's runs in any order, with whatever else its experiment holds.
        metric: one of `RANKING_METRICS`.
        baseline: the normalization that deltas are taken against; the study's own if None.
        grades: which test images the runs are right about, by the metric's epoch; without them the
            intervals know the seeds' noise alone.
        rules: how verdicts are made; the defaults if None.

    Raises:
        UsageError: an unknown metric, or a baseline that is not a normalization of the study.
    """
    settings = normalizations_of(study)
    baseline = baseline or study.baseline
    if metric not in RANKING_METRICS:
        raise unknown_metric(metric)
    if baseline not in settings:
        raise UsageError(
            f"the baseline {baseline!r} is not a normalization of study {study.name}",
            f"accepted: {', '.join(settings)}",
        )
    runs_of: dict[str, list[RunRecord]] = defaultdict(list)
    for run in runs:
        if run.cell_id:  # the study's own run has none
            runs_of[run.cell_id].append(run)
    rows = []
    for label, cells in rows_of(study):
        outcomes: dict[str, list[Outcome]] = {setting: [] for setting in settings}
        for cell in cells:
            outcomes[cell.recipe.normalization].append(_outcome(cell, runs_of.get(cell.id, ()), metric))
        rows.append(Row(label, _scores(outcomes, baseline)))
    rules = rules or Rules()
    rows = with_comparisons(rows, baseline, grades, rules)
    known = {cell.id for cell in study.cells}
    strangers = sum(run.status == "FINISHED" for key, found in runs_of.items() if key not in known for run in found)
    return Leaderboard(
        study=study.name,
        question=study.question,
        metric=metric,
        selection=SELECTION[metric],
        baseline=baseline,
        settings=settings,
        rows=tuple(rows),
        summaries={setting: summarize(setting, rows, baseline) for setting in settings},
        ranks=rank_over_datasets(rows, settings),
        rules=rules,
        swept_as=study.name,
        notes=notes_on(study.name, rows, metric, baseline, strangers),
    )


def unknown_metric(metric: str) -> UsageError:
    """Return the error that names what can be compared."""
    return UsageError(f"{metric!r} ranks nothing", f"accepted: {', '.join(RANKING_METRICS)}")


def normalizations_of(study: Study) -> tuple[str, ...]:
    """Return the normalizations of a study, in its order."""
    values = study.axes.get("normalization") or (study.recipe["normalization"],)
    return tuple(str(value) for value in values)


def rows_of(study: Study) -> list[tuple[dict[str, Scalar], list[Cell]]]:
    """Return a study's cells by row: a label, and the cells that differ only in normalization and seed.

    The label has model and dataset, then every other axis with more than one value.
    """
    beside = ("model", "dataset", "normalization", REPLICATE_AXIS)
    others = [axis for axis, values in study.axes.items() if axis not in beside and len(values) > 1]
    rows: dict[tuple[Scalar, ...], tuple[dict[str, Scalar], list[Cell]]] = {}
    for cell in study.cells:
        label: dict[str, Scalar] = {"model": cell.recipe.model, "dataset": cell.recipe.dataset}
        label.update({axis: cell.point[axis] for axis in others})
        rows.setdefault(tuple(label.values()), (label, []))[1].append(cell)
    return list(rows.values())


def counting_run(runs: Iterable[RunRecord]) -> RunRecord | None:
    """Return the run that counts among those of one cell: the newest finished, else the newest, else None."""
    return max(runs, key=lambda run: (run.status == "FINISHED", run.start_time, run.run_id), default=None)


def _outcome(cell: Cell, runs: Sequence[RunRecord], metric: str) -> Outcome:
    run = counting_run(runs)
    value: float | None = None
    state: State = "missing"
    if run is not None and run.status == "FINISHED":
        value = run.metrics.get(metric)
        if value is not None and not math.isfinite(value):
            value = None
        state = "unmeasured" if value is None else "measured"
    elif run is not None:
        state = STATES.get(run.status, "failed")
    images = run.tags.get("tracker.test_images", "") if run else ""
    return Outcome(
        cell_id=cell.id,
        name=cell.name,
        seed=cell.recipe.seed,
        state=state,
        value=value,
        run_id=run.run_id if run else None,
        test_images=int(images) if images.isdecimal() else None,
        finished_runs=sum(other.status == "FINISHED" for other in runs),
        conditions=conditions_of(run) if run else {},
        optimism=_optimism(run) if state == "measured" and run else None,
    )


def _optimism(run: RunRecord) -> float | None:
    best, last = run.metrics.get("best_acc"), run.metrics.get("last_acc")
    return best - last if best is not None and last is not None else None


def _scores(outcomes: Mapping[str, Sequence[Outcome]], baseline: str) -> dict[str, Score]:
    """Score one row's settings against each other."""
    values = {
        setting: {outcome.seed: outcome.value for outcome in found if outcome.value is not None}
        for setting, found in outcomes.items()
    }
    means = {setting: statistics.mean(measured.values()) for setting, measured in values.items() if measured}
    rounded = [-round(mean, TIE_DIGITS) for mean in means.values()]
    ranks = dict(zip(means, map(float, rankdata(rounded, method="average")), strict=True))
    places = dict(zip(means, map(int, rankdata(rounded, method="min")), strict=True))
    scores = {}
    for setting, found in outcomes.items():
        measured = values[setting]
        common = [seed for seed in measured if seed in values[baseline]]
        differences = {seed: measured[seed] - values[baseline][seed] for seed in common}
        scores[setting] = Score(
            outcomes=tuple(found),
            mean=means.get(setting),
            sd=statistics.stdev(measured.values()) if len(measured) > 1 else None,
            delta=Delta(differences) if differences and setting != baseline else None,
            rank=ranks.get(setting),
            is_best=places.get(setting) == 1,
            is_second=places.get(setting) == 2,
        )
    return scores
