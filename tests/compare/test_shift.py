"""Shift is held against gain point by point: a rank correlation checked against SciPy, or a word that there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from scipy import stats

from tests.compare.conftest import MakeRun
from tracker.compare.leaderboard import build_leaderboard
from tracker.compare.scores import Leaderboard
from tracker.compare.shift import (
    LABELS,
    REFERENCE_TAG,
    ShiftPoint,
    ShiftReport,
    associate,
    shift_report,
    shown_p,
)
from tracker.study.metrics import SHIFT_METRICS
from tracker.study.study import Cell, Study
from tracker.tracking.records import RunRecord

BASE = {"pretrain": 0.1, "finetune": 0.0, "instance": 0.3, "minmax": 0.8}
DATASETS = ("cifar10", "cifar100", "svhn", "tiny-imagenet-200")


def points(excesses: list[float], differences: list[float]) -> list[ShiftPoint]:
    """Make points of nothing but the two numbers."""
    return [
        ShiftPoint("row", "model", "data", "setting", excess, 0.0, difference, None, None)
        for excess, difference in zip(excesses, differences, strict=True)
    ]


def shift_of(cell: Cell) -> float:
    """A shift that depends on setting and dataset, not on seed or model."""
    return BASE[cell.recipe.normalization] * (1 + DATASETS.index(cell.recipe.dataset) / 10)


def reported(
    study: Study,
    make_run: MakeRun,
    gain: Callable[[Cell], float],
    metrics: tuple[str, ...] = SHIFT_METRICS,
    tags: Callable[[Cell], Mapping[str, str]] = lambda cell: {REFERENCE_TAG: "imagenet"},
) -> tuple[ShiftReport, Leaderboard, list[RunRecord]]:
    """Report on a study of which every cell ran, with accuracy 0.8 and its gain, in a run with its shifts."""
    runs = [
        make_run(
            cell,
            {"best_acc": 0.8 + gain(cell)} | dict.fromkeys(metrics, shift_of(cell)),
            tags={"tracker.test_images": "10000", **tags(cell)},
        )
        for cell in study.cells
    ]
    board = build_leaderboard(study, runs)
    return shift_report(board, runs), board, runs


def test_each_comparison_is_a_point(reference: Study, make_run: MakeRun) -> None:
    """A point has the setting's shift, the baseline's, their difference, and the comparison's numbers unchanged."""
    report, board, _ = reported(reference, make_run, lambda cell: -0.1 * shift_of(cell))
    assert [measure.metric for measure in report.measures] == list(SHIFT_METRICS) == list(LABELS)
    assert (report.baseline, report.compared, report.references) == (board.baseline, 48, ("imagenet",))
    for measure in report.measures:
        assert len(measure.points) == 48
    rows = {row.name: row for row in board.rows}
    for point in report.measures[0].points:
        comparison = rows[point.row].scores[point.setting].comparison
        assert comparison is not None and comparison.interval is not None
        assert (point.difference, point.low, point.high) == (comparison.mean, *comparison.interval)
        scale = 1 + DATASETS.index(point.dataset) / 10
        assert point.shift == pytest.approx(BASE[point.setting] * scale)
        assert point.excess == pytest.approx((BASE[point.setting] - BASE[board.baseline]) * scale)
        assert rows[point.row].label["model"] == point.model


def test_who_is_shifted_more_gains_less(reference: Study, make_run: MakeRun) -> None:
    """A perfect order is told as such, with how many points, rows and datasets there are, and that they share."""
    report, *_ = reported(reference, make_run, lambda cell: -0.1 * shift_of(cell))
    for measure in report.measures:
        assert measure.association is not None
        assert measure.association.rho == pytest.approx(-1)
        assert measure.association.p < 0.001
        assert measure.association.p_adjusted == pytest.approx(4 * measure.association.p)
        assert "the farther from the source, compared with pretrain, the less a setting gains" in measure.sentence
        assert "48 comparisons in 16 rows on 4 datasets, not independent" in measure.sentence
        assert measure.correlation == "Spearman's rho = -1.00, n = 48, p <0.001"
    assert report.sentence.startswith("Settings that take the input farther")
    assert "gain less than others, by 4 of 4 measures" in report.sentence


def test_what_is_chance_is_called_chance(reference: Study, make_run: MakeRun) -> None:
    """Gains that have nothing to do with the shift give no association, and the sentence claims none."""
    noise = dict(zip((cell.id for cell in reference.cells), np.random.default_rng(1).normal(0, 0.01, 64), strict=True))
    report, *_ = reported(reference, make_run, lambda cell: noise[cell.id])
    assert all(m.association is not None and m.association.p_adjusted > 0.05 for m in report.measures)
    assert all("no association with the difference to pretrain" in m.sentence for m in report.measures)
    assert report.sentence.startswith("How far a setting shifts the input does not visibly go with")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [6, 8, 30])
def test_rho_and_p_are_scipys(seed: int, n: int) -> None:
    """Spearman's rho with ties is SciPy's; p is that of its permutation test: exact for few, near it for many."""
    generator = np.random.default_rng(seed)
    x = generator.integers(0, 6, n).astype(float)
    y = np.round(x / 4 + generator.normal(size=n), 1)
    found = associate(points(list(x), list(y)))
    assert found is not None and found.n == n
    assert found.rho == pytest.approx(stats.spearmanr(x, y).statistic)
    if n <= 6:
        test = stats.permutation_test(
            (x,), lambda shuffled: stats.spearmanr(shuffled, y).statistic,
            permutation_type="pairings", alternative="two-sided",
        )  # fmt: skip
        either = np.abs(test.null_distribution) >= abs(found.rho) - 1e-9
        assert found.p == pytest.approx(either.mean())
    if n == 30:
        assert found.p == pytest.approx(stats.spearmanr(x, y).pvalue, abs=0.02)


def test_under_no_effect_p_is_rarely_small() -> None:
    """Of 200 tables of independent noise at most 5 %, give or take what 200 can show, have p below 0.05."""
    generator = np.random.default_rng(0)
    for n in (7, 12):
        found = [associate(points(list(generator.normal(size=n)), list(generator.normal(size=n)))) for _ in range(100)]
        assert sum(each is not None and each.p < 0.05 for each in found) <= 11


@pytest.mark.parametrize(
    ("x", "y"), [([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]), ([1.0] * 8, list(range(8))), (list(range(8)), [0.5] * 8)]
)
def test_what_cannot_be_said_is_none(x: list[float], y: list[float]) -> None:
    """Five points are too few, and equal numbers have no order."""
    assert associate(points(x, y)) is None


def test_rounding_is_no_order() -> None:
    """Shifts that float32 tells apart by its last digit, and sums in another order, are ties."""
    tiny = [0.1 + 1e-9 * number for number in range(8)]
    assert associate(points(tiny, list(range(8)))) is None
    assert associate(points(list(range(8)), [0.3, 0.1 + 0.2] * 4)) is None


def test_few_comparisons_are_told_to_be_few(small: Study, make_run: MakeRun) -> None:
    """Four points get a sentence instead of a number."""
    runs = [make_run(cell, {"best_acc": 0.9, "shift_mean": 0.1 * cell.recipe.seed}) for cell in small.cells]
    report = shift_report(build_leaderboard(small, runs), runs)
    (measure,) = report.measures
    assert measure.association is None
    assert measure.sentence == (
        "Distance of the channel means: 4 comparisons cannot say whether it goes with the difference; 6 are the least."
    )
    assert measure.correlation == "n = 4: no statement"
    assert "cannot be said: too few comparisons" in report.sentence
    assert [point.shift for point in measure.points] == pytest.approx([0.2] * 4)  # the mean over seeds 1, 2, 3


def test_without_shifts_the_report_is_empty_and_says_why(published_board: Leaderboard) -> None:
    """Published results and older runs have none; nothing is made up for them."""
    report = shift_report(published_board, [])
    assert (report.measures, report.compared, report.references) == ((), 48, ())
    assert "No comparison has a shift" in report.sentence


def test_a_network_without_batchnorm_lacks_one_measure(reference: Study, make_run: MakeRun) -> None:
    """What is not logged leaves no trace, and p is adjusted for what was looked at."""
    report, *_ = reported(reference, make_run, lambda cell: -shift_of(cell) / 10, metrics=SHIFT_METRICS[:1])
    (measure,) = report.measures
    assert measure.metric == "shift_mean"
    assert measure.association is not None and measure.association.p_adjusted == measure.association.p
    assert "Holm" not in measure.sentence


def test_two_scales_are_not_mixed(reference: Study, make_run: MakeRun) -> None:
    """Where setting and baseline were measured against different knowledge of the source, there is no point."""
    report, *_ = reported(
        reference, make_run, lambda cell: -shift_of(cell) / 10,
        tags=lambda cell: {REFERENCE_TAG: "z-score" if cell.recipe.normalization == "minmax" else "histogram"},
    )  # fmt: skip
    assert report.references == ("histogram",)
    for measure in report.measures:
        assert {point.setting for point in measure.points} == {"finetune", "instance"}
        assert len(measure.points) == 32


def test_only_runs_that_count_are_looked_at(reference: Study, make_run: MakeRun) -> None:
    """A failed run's shift, and that of an older duplicate, do not enter; what has no difference is no point."""
    report, _, runs = reported(reference, make_run, lambda cell: -0.1 * shift_of(cell))
    first = reference.cells[0]
    older = make_run(first, {"best_acc": 0.5, "shift_mean": 99.0}, start=-5)
    failed = [make_run(first, {"shift_mean": 77.0}, status="FAILED", start=9)]
    again = shift_report(build_leaderboard(reference, [*runs, older, *failed]), [*runs, older, *failed])
    assert again == report
    broken = [make_run(first, {"shift_mean": 77.0}, status="FAILED"), *runs[1:]]
    fewer = shift_report(build_leaderboard(reference, broken), broken)
    assert fewer.compared == 47
    assert {len(measure.points) for measure in fewer.measures} == {47}


@pytest.mark.parametrize(("p", "shown"), [(1e-5, "p <0.001"), (0.0312, "p = 0.031"), (1.0, "p = 1.000")])
def test_p_is_printed_with_its_name(p: float, shown: str) -> None:
    """A tiny p is a bound, since random orders reach no lower."""
    assert shown_p(p) == shown
