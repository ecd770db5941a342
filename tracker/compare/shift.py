"""Shift against gain: whether a normalization helps less, the farther it takes the input from what the source saw.

The question is the reference study's "in which cases does this difference occur". A point is one
setting in one row. What it gains is a difference to the baseline, so what it is held against is one
too: the excess of its shift over the baseline's.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from tracker.compare.scores import Leaderboard, Score
from tracker.compare.wording import p_text
from tracker.significance.multiplicity import holm
from tracker.study.metrics import SHIFT_METRICS

if TYPE_CHECKING:
    from tracker.tracking.records import RunRecord

LABELS = {
    "shift_mean": "distance of the channel means",
    "shift_std": "distance of the channel deviations",
    "shift_wasserstein": "Wasserstein distance of the pixels",
    "shift_activations": "distance of the first layer's activations",
}
"""What each measure is called where it is printed; in source SDs."""

REFERENCE_TAG = "tracker.shift_reference"
SMALLEST = 6
"""Fewer points say nothing: of 5, only a perfect order has p below 0.05."""
EXACT = 8
"""Up to so many points all 40,320 orders are looked at; above, random ones."""
RANDOM_ORDERS = 20_000
SEED = 20_180_614
ALPHA = 0.05
SHIFT_DIGITS = 6
GAIN_DIGITS = 12
"""Shifts and differences are ranked after rounding to this many digits: what float32 or a sum's order adds is a tie."""


@dataclass(frozen=True)
class ShiftPoint:
    """One setting in one row, its shift beside what it gains.

    Args:
        row: its name; `model` and `dataset` are its labels.
        shift, baseline_shift: in source SDs, of the setting and of the baseline in that row.
        difference: accuracy, setting minus baseline, a fraction.
        low, high: its 95 % interval; None (both) where there is none.
    """

    row: str
    model: str
    dataset: str
    setting: str
    shift: float
    baseline_shift: float
    difference: float
    low: float | None
    high: float | None

    @property
    def excess(self) -> float:
        """How much farther from what the source saw than under the baseline; negative if nearer."""
        return self.shift - self.baseline_shift


@dataclass(frozen=True)
class Association:
    """How the order of the excesses goes with the order of the differences.

    Points are not independent: rows share networks and datasets, the settings of a row share its
    baseline, and a setting shifts alike in all rows. A permutation test takes them for independent,
    so its p is rather too small.

    Args:
        n: points.
        rho: Spearman's; negative: who is shifted more gains less.
        p: two-sided, by permutation: exact up to `EXACT` points.
        p_adjusted: after Holm over the measures that were looked at.
    """

    n: int
    rho: float
    p: float
    p_adjusted: float


@dataclass(frozen=True)
class ShiftMeasure:
    """One measure of shift against the gain, over the whole table.

    Args:
        metric: one of `SHIFT_METRICS`.
        label: what it is called in print.
        points: those that have it.
        association: None where it cannot be said.
        sentence: the conclusion, or why there is none.
    """

    metric: str
    label: str
    points: tuple[ShiftPoint, ...]
    association: Association | None
    sentence: str

    @property
    def correlation(self) -> str:
        """The numbers in one short line, for a figure."""
        if self.association is None:
            return f"n = {len(self.points)}: no statement"
        found = self.association
        return f"Spearman's rho = {found.rho:+.2f}, n = {found.n}, {shown_p(found.p)}"


@dataclass(frozen=True)
class ShiftReport:
    """Every measure of shift against the gain.

    Args:
        baseline: the setting both are differences to.
        measures: in the order of `SHIFT_METRICS`; those that no run has are left out.
        compared: how many comparisons the table has.
        references: what the distances of pixels were taken to: "histogram", "imagenet" or "z-score".
        sentence: the answer over all measures, or why there is none.
    """

    baseline: str
    measures: tuple[ShiftMeasure, ...]
    compared: int
    references: tuple[str, ...]
    sentence: str


def shift_report(board: Leaderboard, runs: Iterable[RunRecord]) -> ShiftReport:
    """Set the shifts that a table's runs have logged against its differences.

    Args:
        runs: all of the study's; those that count in the table are looked up among them.
    """
    by_id = {run.run_id: run for run in runs}
    pairs = [
        (row.name, row.label, setting, score, row.scores[board.baseline])
        for row in board.rows
        for setting, score in row.scores.items()
        if score.comparison is not None and not score.comparison.blocked
    ]
    points: dict[str, list[ShiftPoint]] = {}
    references: set[str] = set()
    for name, label, setting, score, baseline in pairs:
        against = _references(score, by_id) | _references(baseline, by_id)
        if len(against) > 1:  # measured on machines that knew more and less of the source: not one scale
            continue
        assert score.comparison is not None
        low, high = score.comparison.interval or (None, None)
        for metric in SHIFT_METRICS:
            ours, theirs = _shift(score, by_id, metric), _shift(baseline, by_id, metric)
            if ours is not None and theirs is not None:
                place = (name, str(label["model"]), str(label["dataset"]), setting)
                points.setdefault(metric, []).append(ShiftPoint(*place, ours, theirs, score.comparison.mean, low, high))
                references |= against
    found = {metric: associate(points[metric]) for metric in SHIFT_METRICS if metric in points}
    tested = {metric: each for metric, each in found.items() if each is not None}
    adjusted = dict(zip(tested, holm([each.p for each in tested.values()]), strict=True))
    measures = []
    for metric, association in found.items():
        if association is not None:
            association = replace(association, p_adjusted=adjusted[metric])
        sentence = _conclude(metric, points[metric], association, board.baseline, len(tested))
        measures.append(ShiftMeasure(metric, LABELS[metric], tuple(points[metric]), association, sentence))
    return ShiftReport(
        baseline=board.baseline,
        measures=tuple(measures),
        compared=len(pairs),
        references=tuple(sorted(references)),
        sentence=_sum_up(measures, board.baseline),
    )


def associate(points: Sequence[ShiftPoint]) -> Association | None:
    """Compute Spearman's rho of excess and difference; `p_adjusted` is `p`.

    Returns:
        None for fewer than `SMALLEST` points, or where all excesses or all differences are equal.
    """
    x = _centred_ranks([round(point.excess, SHIFT_DIGITS) for point in points])
    y = _centred_ranks([round(point.difference, GAIN_DIGITS) for point in points])
    scale = float((x @ x) * (y @ y)) ** 0.5
    if len(points) < SMALLEST or scale == 0:
        return None
    rho = float(x @ y) / scale
    as_far = abs(rho) - 1e-12  # equal sums in another order are equal
    if len(points) <= EXACT:
        orders = np.array(list(itertools.permutations(range(len(points)))))  # (n!, n)
        p = float((np.abs(y[orders] @ x) / scale >= as_far).mean())
    else:
        generator = np.random.default_rng([SEED, len(points)])
        shuffled = generator.permuted(np.tile(y, (RANDOM_ORDERS, 1)), axis=1)  # (orders, n)
        p = (int((np.abs(shuffled @ x) / scale >= as_far).sum()) + 1) / (RANDOM_ORDERS + 1)
    return Association(len(points), rho, p, p)


def shown_p(p: float) -> str:
    """Print a p-value, `p = 0.031`, `p <0.001`."""
    text = p_text(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def _centred_ranks(values: Sequence[float]) -> NDArray[np.float64]:
    ranks = np.asarray(rankdata(values), dtype=np.float64)
    return ranks - (len(ranks) + 1) / 2


def _shift(score: Score, runs: Mapping[str, RunRecord], metric: str) -> float | None:
    """Return a setting's shift: the mean over its measured seeds, which differ by rounding at most."""
    values = [run.metrics[metric] for run in _runs(score, runs) if metric in run.metrics]
    return statistics.mean(values) if values else None


def _references(score: Score, runs: Mapping[str, RunRecord]) -> set[str]:
    return {run.tags[REFERENCE_TAG] for run in _runs(score, runs) if REFERENCE_TAG in run.tags}


def _runs(score: Score, runs: Mapping[str, RunRecord]) -> list[RunRecord]:
    ids = [outcome.run_id for outcome in score.outcomes if outcome.value is not None]
    return [runs[run_id] for run_id in ids if run_id is not None and run_id in runs]


def _conclude(metric: str, points: Sequence[ShiftPoint], found: Association | None, baseline: str, tested: int) -> str:
    label = f"{LABELS[metric][0].upper()}{LABELS[metric][1:]}"
    if found is None:
        if len(points) < SMALLEST:
            count = f"{len(points)} comparison{'s' * (len(points) != 1)}"
            return f"{label}: {count} cannot say whether it goes with the difference; {SMALLEST} are the least."
        return f"{label}: all excesses over {baseline}, or all differences, are equal, so nothing goes with anything."
    numbers = f"rho = {found.rho:+.2f}, {shown_p(found.p)}"
    if tested > 1:
        numbers += f", {shown_p(found.p_adjusted)} after Holm over {tested} measures"
    if found.p_adjusted >= ALPHA:
        words = f"no association with the difference to {baseline} can be told from chance"
    else:
        less = "less" if found.rho < 0 else "more"
        words = f"the farther from the source, compared with {baseline}, the {less} a setting gains"
    rows, datasets = (len({getattr(point, name) for point in points}) for name in ("row", "dataset"))
    sizes = f"{found.n} comparisons in {rows} row{'s' * (rows != 1)} on {datasets} dataset{'s' * (datasets != 1)}"
    return f"{label}: {words} ({numbers}; {sizes}, not independent of each other, so p is rather too small)."


def _sum_up(measures: Sequence[ShiftMeasure], baseline: str) -> str:
    if not measures:
        return "No comparison has a shift on both sides: its runs have random weights, or are older than the measure."
    tested = [measure for measure in measures if measure.association is not None]
    if not tested:
        return f"Whether shift goes with the gain over {baseline} cannot be said: too few comparisons, or all alike."
    told = [m for m in tested if m.association is not None and m.association.p_adjusted < ALPHA]
    if not told:
        many = "the one measure" if len(tested) == 1 else f"any of the {len(tested)} measures"
        return f"How far a setting shifts the input does not visibly go with what it gains over {baseline}, by {many}."
    less = [m.association.rho < 0 for m in told if m.association is not None]
    how = "less" if all(less) else "more or less, as the measure is chosen," if any(less) else "more"
    return (
        f"Settings that take the input farther from what the source saw than {baseline} does gain {how} than others, "
        f"by {len(told)} of {len(tested)} measures: {', '.join(m.label for m in told)}."
    )
