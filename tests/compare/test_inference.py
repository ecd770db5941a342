"""Rules of verdicts: what predictions, seeds and conditions allow to be said of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from tests.compare.conftest import MakeRun
from tracker.compare.answer import answer, limits
from tracker.compare.comparison import Comparison, Rules
from tracker.compare.grading import Graded
from tracker.compare.leaderboard import build_leaderboard
from tracker.compare.scores import Leaderboard
from tracker.compare.wording import verdict_text
from tracker.study.load import parse_study
from tracker.study.study import Study
from tracker.tracking.records import RunRecord

IMAGES = 4_000


def one_row(seeds: int) -> Study:
    """A study of one row and three settings."""
    return parse_study(
        {
            "name": "row",
            "question": "Which one?",
            "recipe": {"model": "resnet18", "dataset": "digits"},
            "axes": {"normalization": ["pretrain", "finetune", "minmax"], "seed": list(range(1, seeds + 1))},
        },
        file="row.yaml",
    )


def graded(study: Study, make_run: MakeRun, gain: Mapping[str, float]) -> tuple[list[RunRecord], dict[str, Graded]]:
    """Make finished runs with predictions: 90 % of the images right, by chance `gain` more, the same each time."""
    rng = np.random.default_rng(7)
    easy = rng.random(IMAGES)  # an image is hard or easy for all of them
    runs, grades = [], {}
    for cell in study.cells:
        luck = rng.random(IMAGES)
        right: NDArray[np.bool_] = 0.8 * easy + 0.2 * luck > 0.15 - gain.get(cell.recipe.normalization, 0.0)
        run = make_run(cell, float(right.mean()))
        runs.append(run)
        grades[run.run_id] = Graded(np.arange(IMAGES, dtype=np.int32), right)
    return runs, grades


def comparisons(board: Leaderboard) -> dict[str, Comparison]:
    """The comparisons of a board's first row, by setting."""
    return {name: score.comparison for name, score in board.rows[0].scores.items() if score.comparison is not None}


@pytest.mark.parametrize("seeds", [2, 3, 8])
def test_a_difference_is_found_and_none_is_not(seeds: int, make_run: MakeRun) -> None:
    """Intervals hold the mean of the paired differences, and at eight seeds large differences are better and worse."""
    study = one_row(seeds)
    runs, grades = graded(study, make_run, {"finetune": 0.08, "minmax": -0.03})
    found = comparisons(build_leaderboard(study, runs, grades=grades))
    assert set(found) == {"finetune", "minmax"}
    for setting, comparison in found.items():
        ours = [run.metrics["best_acc"] for run in runs if f"/{setting}/" in run.name]
        theirs = [run.metrics["best_acc"] for run in runs if "/pretrain/" in run.name]
        assert comparison.mean == pytest.approx(np.mean(np.subtract(ours, theirs)))
        assert (comparison.pairs, comparison.images, comparison.basis) == (seeds, IMAGES, "seeds and images")
        assert comparison.interval is not None
        assert comparison.t_interval is not None
        assert comparison.interval[0] < comparison.mean < comparison.interval[1]
        t = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
        assert comparison.t_interval == pytest.approx((t.low, t.high))
        assert set(comparison.mcnemar) == set(range(1, seeds + 1))
        assert (comparison.sign_flip is not None) == (seeds >= 6)
    if seeds == 8:
        assert [found[name].verdict for name in ("finetune", "minmax")] == ["better", "worse"]
        assert found["finetune"].further_seeds is None
        assert found["finetune"].sign_flip == 2 / 2**8


def test_equal_predictions_are_equivalent(make_run: MakeRun) -> None:
    """Settings that are right about the same images differ by nothing, which three seeds settle."""
    study = one_row(3)
    runs, grades = graded(study, make_run, {})
    base = {run.name.rpartition("/")[2]: run for run in runs if "/pretrain/" in run.name}
    same = {run.run_id: grades[base[run.name.rpartition("/")[2]].run_id] for run in runs}
    runs = [RunRecord(**{**vars(run), "metrics": {"best_acc": float(same[run.run_id].correct.mean())}}) for run in runs]
    board = build_leaderboard(study, runs, grades=same)
    for comparison in comparisons(board).values():
        assert (comparison.verdict, comparison.mean, comparison.p) == ("equivalent", 0, 1)
        assert comparison.interval is not None
        assert max(map(abs, comparison.interval)) < 5 / IMAGES
    assert answer(board)[0] == "It makes no difference: every setting is within 0.3 points of pretrain."


def test_rope_decides_what_is_equivalent(make_run: MakeRun) -> None:
    """A wide enough region of equivalence takes in what a narrow one leaves open."""
    study = one_row(8)
    runs, grades = graded(study, make_run, {})
    narrow = comparisons(build_leaderboard(study, runs, grades=grades, rules=Rules(rope=1e-5)))
    wide = comparisons(build_leaderboard(study, runs, grades=grades, rules=Rules(rope=0.05)))
    assert {comparison.verdict for comparison in narrow.values()} == {"undecided"}
    assert {comparison.verdict for comparison in wide.values()} == {"equivalent"}


def test_one_seed_says_what_one_seed_can(make_run: MakeRun) -> None:
    """With one seed there is McNemar and an interval over images, and however large the difference, no verdict."""
    study = one_row(1)
    runs, grades = graded(study, make_run, {"finetune": 0.1})
    board = build_leaderboard(study, runs, grades=grades)
    comparison = comparisons(board)["finetune"]
    assert (comparison.basis, comparison.verdict, comparison.further_seeds) == ("images", "undecided", 2)
    assert (comparison.p, comparison.noise, comparison.t_interval) == (None, None, None)
    assert comparison.mcnemar[1].p < 1e-6
    assert comparison.interval is not None
    assert comparison.interval[0] > 0
    assert verdict_text(comparison) == "undecided, one seed"
    assert answer(board)[0].startswith("One seed cannot tell the settings of a row apart")


def without(grades: Mapping[str, Graded], runs: Iterable[RunRecord], name: str) -> dict[str, Graded]:
    """The grades without those of the runs whose name has `name` in it."""
    left_out = {run.run_id for run in runs if name in run.name}
    return {run_id: graded for run_id, graded in grades.items() if run_id not in left_out}


def test_without_predictions_seeds_alone(make_run: MakeRun) -> None:
    """A setting whose predictions are missing at one seed is compared by its seeds alone, the other one in full."""
    study = one_row(3)
    runs, grades = graded(study, make_run, {})
    found = comparisons(build_leaderboard(study, runs, grades=without(grades, runs, "finetune/seed=2")))
    assert (found["finetune"].basis, found["minmax"].basis) == ("seeds", "seeds and images")
    assert found["finetune"].images == 0
    assert found["finetune"].interval == pytest.approx(found["finetune"].t_interval)


def test_predictions_of_another_epoch_are_not_used(make_run: MakeRun) -> None:
    """Predictions that do not give the accuracy they are compared by are left out: they are of something else."""
    study = one_row(3)
    runs, grades = graded(study, make_run, {})
    wrong = next(run for run in runs if "minmax/seed=3" in run.name)
    grades[wrong.run_id] = Graded(grades[wrong.run_id].index, ~grades[wrong.run_id].correct)
    assert comparisons(build_leaderboard(study, runs, grades=grades))["minmax"].basis == "seeds"


def test_other_images_are_not_paired(make_run: MakeRun) -> None:
    """Networks that were tested on other images are compared by their seeds alone."""
    study = one_row(3)
    runs, grades = graded(study, make_run, {})
    moved = next(run for run in runs if "minmax/seed=3" in run.name)
    grades[moved.run_id] = Graded(grades[moved.run_id].index + 1, grades[moved.run_id].correct)
    assert comparisons(build_leaderboard(study, runs, grades=grades))["minmax"].basis == "seeds"


@pytest.mark.parametrize(
    ("tag", "value", "meaning"),
    [
        ("tracker.protocol", "2", "protocol of training (1 / 2)"),
        ("dataset.fingerprint", "feed", "content of the dataset (beef / feed)"),
        ("source.fingerprint", "feed", "weights of the source (beef / feed)"),
        ("tracker.test_images", "9999", "number of test images (10000 / 9999)"),
        ("version.torch", "3.0.0", "version of torch (2.11.0 / 3.0.0)"),
    ],
)
def test_guard(tag: str, value: str, meaning: str, make_run: MakeRun) -> None:
    """Runs of other conditions are not judged, the note says what differs; --force judges them, and says so."""
    study = one_row(3)
    runs, grades = graded(study, make_run, {"finetune": 0.1, "minmax": 0.1})
    tags = {
        "tracker.test_images": "10000",
        "dataset.fingerprint": "beef",
        "source.fingerprint": "beef",
        "version.torch": "2.11.0",
    }
    other = [
        RunRecord(**{**vars(run), "tags": {**tags, **({tag: value} if "minmax/seed=2" in run.name else {})}})
        for run in runs
    ]
    board = build_leaderboard(study, other, grades=grades)
    found = comparisons(board)
    assert (found["minmax"].blocked, found["minmax"].verdict, found["minmax"].p_adjusted) == (True, "undecided", None)
    assert (found["finetune"].blocked, found["finetune"].verdict) == (False, "better")
    assert found["minmax"].obstacles == (meaning,)
    assert verdict_text(found["minmax"]) == "not comparable"
    assert board.summaries["minmax"].verdicts == {}
    assert [note for note in board.notes if note.startswith("Not compared") and meaning in note]
    forced = build_leaderboard(study, other, grades=grades, rules=Rules(force=True))
    assert comparisons(forced)["minmax"].verdict == "better"
    assert [note for note in forced.notes if note.startswith("Compared by force") and meaning in note]


def test_holm_over_the_table(make_run: MakeRun, small: Study) -> None:
    """Every p-value is adjusted for all comparisons of the table, and never falls by it."""
    rng = np.random.default_rng(3)
    runs = [make_run(cell, float(rng.normal(0.9, 0.01))) for cell in small.cells]
    board = build_leaderboard(small, runs)
    found = [score.comparison for row in board.rows for score in row.scores.values() if score.comparison is not None]
    raw = sorted(comparison.p for comparison in found if comparison.p is not None)
    assert len(raw) == 4
    assert min(c.p_adjusted for c in found if c.p_adjusted is not None) == pytest.approx(min(1, 4 * raw[0]))
    assert all(c.p_adjusted is not None and c.p is not None and c.p_adjusted >= c.p for c in found)


def test_a_later_look_asks_for_more(make_run: MakeRun) -> None:
    """The same data that decide a fixed study do not decide one that was grown until it looked decided."""
    study = one_row(3)
    runs, grades = graded(study, make_run, {"finetune": 0.03})
    first = comparisons(build_leaderboard(study, runs, grades=grades))["finetune"]
    later = comparisons(build_leaderboard(study, runs, grades=grades, rules=Rules(look=5)))["finetune"]
    assert (first.verdict, later.verdict) == ("better", "undecided")
    assert first.interval == later.interval


def test_what_has_no_power_is_said(make_run: MakeRun) -> None:
    """Three seeds on one dataset: no sign-flip test and no critical-difference diagram, and the reasons are told."""
    study = one_row(3)
    runs, grades = graded(study, make_run, {})
    said = " ".join(limits(build_leaderboard(study, runs, grades=grades)))
    assert "3 paired seeds cannot reach p = 0.05, 6 are the fewest that can" in said
    assert "over 1 dataset mean ranks would have to be" in said


def test_nothing_measured_says_nothing(small: Study) -> None:
    """A study without results gives one sentence and no comparison."""
    board = build_leaderboard(small, [])
    assert answer(board) == ["Nothing can be said yet: no setting has a result beside pretrain's at the same seed."]
    assert limits(board) == []
