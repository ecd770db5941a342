"""Rules of the recommendation, on tables made by hand."""

from __future__ import annotations

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from tests.advise.boards import board, compared
from tracker.advise.recommendation import recommend
from tracker.significance.crossed import Noise

BOTH = {"baseline": "pretrain", "ending": "decided"}


def test_a_setting_that_is_better_is_recommended_with_its_difference() -> None:
    """With interval, number of seeds and both accuracies; the others are told of beside it."""
    table = board({"finetune": compared("better", 0.05, 0.02), "minmax": compared("worse", -0.1, 0.02)})
    told = recommend(table, **BOTH)
    assert (told.setting, told.certainty) == ("finetune", "better")
    assert told.headline == (
        "Use finetune: it is better than pretrain by +5.00 points (95 % interval [+3.00, +7.00], 3 seeds), "
        "75.00 % ± 2.00 against 70.00 % ± 2.00."
    )
    assert told.findings[1] == "minmax: worse than pretrain, -10.00 points (95 % interval [-12.00, -8.00], 3 seeds)."
    assert told.ways_on == ()


def test_of_several_better_ones_the_highest_mean_is_taken_and_said_not_to_be_told_apart() -> None:
    """Only differences to the baseline are judged."""
    table = board({"finetune": compared("better", 0.03, 0.02), "instance": compared("better", 0.04, 0.02)})
    told = recommend(table, **BOTH)
    assert told.setting == "instance"
    assert "So is finetune; these are not told apart, instance has the highest mean." in told.headline


def test_no_difference_is_an_answer() -> None:
    """Every other setting is equivalent: the baseline, with how far apart they may be at most."""
    table = board({"finetune": compared("equivalent", 0.001, 0.005), "minmax": compared("equivalent", -0.002, 0.006)})
    told = recommend(table, **BOTH)
    assert (told.setting, told.certainty) == ("pretrain", "no difference")
    assert told.headline == (
        "It makes no difference: use pretrain. finetune and minmax are within 1 point of it, 0.80 at most by the "
        "95 % intervals (3 seeds)."
    )


def test_worse_and_equivalent_settings_leave_the_baseline() -> None:
    """Which are worse and by how much, and which make no difference."""
    table = board({"finetune": compared("equivalent", 0.001, 0.005), "minmax": compared("worse", -0.1, 0.02)})
    told = recommend(table, **BOTH)
    assert (told.setting, told.certainty) == ("pretrain", "not better")
    assert told.headline == (
        "Use pretrain: minmax is worse by 10.00 points (95 % interval [-12.00, -8.00], 3 seeds). finetune makes no "
        "difference of 1 point."
    )


def test_an_undecided_setting_is_not_recommended_however_far_ahead() -> None:
    """The baseline, with the bound on the difference, and what would decide."""
    table = board({"finetune": compared(mean=0.2, half=0.3, further=4), "minmax": compared("worse", -0.1, 0.02)})
    told = recommend(table, baseline="pretrain", ending="budget", cell_seconds=30)
    assert (told.setting, told.certainty) == ("pretrain", "undecided")
    assert told.headline == (
        "Use pretrain: no other setting is shown to be better; minmax is worse by 10.00 points (95 % interval "
        "[-12.00, -8.00], 3 seeds). If there is a difference to finetune, it is between -10.00 and +50.00 points "
        "(95 % intervals, 3 seeds)."
    )
    assert told.ways_on == (
        "finetune: 4 further seeds would decide, if difference and noise stay what they are, about 4 minutes of "
        "training; the same command with a larger --budget goes on.",
    )


def test_the_bound_of_several_undecided_settings_holds_all_of_them() -> None:
    """From the lowest end to the highest."""
    table = board({"finetune": compared(mean=0.0, half=0.02), "minmax": compared(mean=0.03, half=0.04)})
    told = recommend(table, baseline="pretrain", ending="budget")
    assert "finetune and minmax, all taken together, it is between -2.00 and +7.00 points" in told.headline


def test_what_seeds_do_not_decide_needs_images() -> None:
    """More test images, those that are there if not all were used; or nothing that can be paid for."""
    few = board({"finetune": compared(further=None)})
    assert "add test images" in recommend(few, baseline="pretrain", ending="no use").ways_on[0]
    limited = recommend(few, baseline="pretrain", ending="no use", all_test_images=False)
    assert "there are more: --again with a larger --budget" in limited.ways_on[0]
    noisy = board({"finetune": compared(further=None, noise=Noise(3, 0, 1e-2, 0.0))})
    assert "over 1,000" in recommend(noisy, baseline="pretrain", ending="no use").ways_on[0]
    many = recommend(board({"finetune": compared(further=40)}), baseline="pretrain", ending="no use")
    assert "beyond the 20 that are taken here" in many.ways_on[0]


def test_without_an_ended_round_nothing_is_judged() -> None:
    """The baseline, for want of a comparison, and the way on."""
    told = recommend(None, baseline="pretrain", ending="unfinished")
    assert (told.setting, told.certainty, told.basis) == ("pretrain", "unfinished", "")
    assert "nothing is judged" in told.headline
    assert "a larger --budget" in told.ways_on[0]


def test_a_setting_that_failed_is_told_of_and_not_judged() -> None:
    """The others are."""
    told = recommend(board({"finetune": compared("better", 0.05, 0.02), "minmax": None}), **BOTH)
    assert told.setting == "finetune"
    assert told.unjudged == ("minmax: not judged, no seed has a result in both (3 failed).",)


def test_a_baseline_that_failed_is_not_recommended() -> None:
    """Not while something else has a result; that it is no comparison is said."""
    table = board({"finetune": None, "minmax": None}, baseline=None)
    assert recommend(table, **BOTH).setting == "pretrain"
    table.rows[0].scores["minmax"] = board({}, baseline=0.6).rows[0].scores["pretrain"]  # type: ignore[index]
    told = recommend(table, **BOTH)
    assert (told.setting, told.certainty) == ("minmax", "unfinished")
    assert "pretrain has no result (3 failed)" in told.headline


def test_runs_under_different_conditions_are_not_judged() -> None:
    """What differs is said."""
    blocked = compared(blocked=True, obstacles=("version of torch (2.11 / 2.12)",))
    told = recommend(board({"finetune": blocked}), **BOTH)
    assert (told.setting, told.certainty) == ("pretrain", "unfinished")
    assert told.unjudged == (
        "finetune: not comparable with pretrain, the runs differ in version of torch (2.11 / 2.12).",
    )


def test_the_basis_names_seeds_images_and_levels() -> None:
    """How often chance alone gives a verdict, at this look."""
    told = recommend(board({"finetune": compared(pairs=6), "minmax": compared(pairs=3)}, look=2), **BOTH)
    assert told.basis == (
        "3 to 6 seeds a setting on 400 test images, paired; ± is the standard deviation over seeds. By chance alone at "
        "most 0.83 % of such tables call a setting better or worse (look 2; Holm's adjustment over 2 comparisons)."
    )


VERDICTS = ("better", "worse", "equivalent", "undecided", None)


def test_every_mix_of_verdicts_has_one_answer() -> None:
    """One setting of the table; better than the baseline, or the baseline itself; no number without interval and n."""
    looked_at = 0
    for first, second, third in itertools.product(VERDICTS, repeat=3):
        others = {
            name: None if verdict is None else compared(verdict, mean)
            for name, verdict, mean in zip(
                ("finetune", "instance", "minmax"), (first, second, third), (0.01, 0.05, 0.02), strict=True
            )
        }
        told = recommend(board(others), baseline="pretrain", ending="budget", cell_seconds=1.0)
        better = [name for name, other in others.items() if other is not None and other.verdict == "better"]
        assert told.setting in (better or ["pretrain"])
        assert (told.certainty == "better") == bool(better)
        assert told.headline.count("Use ") + told.headline.count("use ") == 1
        for sentence in (told.headline, *told.findings):
            if re.search(r"[+-]\d+\.\d\d points", sentence):
                assert re.search(r"\d+ seeds?", sentence) and "95 %" in sentence
        looked_at += 1
    assert looked_at == 125


@given(st.lists(st.tuples(st.sampled_from(VERDICTS[:4]), st.floats(-0.5, 0.5)), min_size=1, max_size=3))
def test_the_recommended_setting_is_never_behind_another_better_one(drawn: list[tuple[str, float]]) -> None:
    """Among those shown to be better the highest mean wins."""
    names = ("finetune", "instance", "minmax")
    others = {name: compared(verdict, mean) for name, (verdict, mean) in zip(names, drawn, strict=False)}  # type: ignore[arg-type]
    table = board(others)
    told = recommend(table, **BOTH)
    better = [table.rows[0].scores[name].mean for name, other in others.items() if other.verdict == "better"]
    if better:
        assert table.rows[0].scores[told.setting].mean == max(mean for mean in better if mean is not None)
    else:
        assert told.setting == "pretrain"
