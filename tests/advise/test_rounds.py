"""Rules of the rounds: they grow what is undecided while the budget lasts, and lose nothing when it ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from tests.compare.conftest import make_run  # noqa: F401
from tracker.advise.growing import trimmed
from tracker.advise.rounds import MARGIN, Rounds
from tracker.compare.comparison import Rules
from tracker.compare.deciding import MAX_SEEDS, next_seeds
from tracker.compare.leaderboard import build_leaderboard
from tracker.compare.scores import Leaderboard
from tracker.study.load import parse_study
from tracker.study.study import Cell, Study
from tracker.sweep.summary import Summary

STUDY = {
    "name": "advise-x",
    "question": "which?",
    "recipe": {"model": "resnet18", "dataset": "digits"},
    "axes": {"seed": [1, 2, 3], "normalization": ["pretrain", "finetune", "minmax"]},
    "looks": 1,
}
NAMES = [f"resnet18/digits/{setting}" for setting in ("pretrain", "finetune", "minmax")]


@pytest.fixture
def study() -> Study:
    """Three settings, three seeds, at its first look."""
    return parse_study(STUDY, file="x")


def noisy(cell: Cell) -> float:
    """Return an accuracy without any effect of the setting, which no few seeds decide."""
    return float(0.8 + np.random.default_rng(int(cell.id, 16)).normal(scale=0.02))


def clear(cell: Cell) -> float:
    """Return an accuracy that the setting alone decides, but for a trace."""
    effect = {"pretrain": 0.0, "finetune": 0.2, "minmax": -0.2}[cell.recipe.normalization]
    return 0.5 + effect + (noisy(cell) - 0.8) / 100


@dataclass
class Bench:
    """Sweeps that cost no time, and what was done."""

    judge: Callable[[Study], Leaderboard]
    swept: list[Study] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    summary: Summary = field(default_factory=lambda: Summary(ran=1))

    def sweep(self, study: Study) -> Summary:
        self.swept.append(study)
        return self.summary

    def rounds(self, seconds: float = 1e6, cell_seconds: float | None = None) -> Rounds:
        return Rounds(time.monotonic() + seconds, self.sweep, self.judge, self.said.append, cell_seconds)


@pytest.fixture
def bench(make_run: Callable[..., object], request: pytest.FixtureRequest) -> Bench:  # noqa: F811
    """A bench whose runs have the accuracies that the test is marked with."""
    value = request.param

    def judge(study: Study) -> Leaderboard:
        runs = [make_run(cell, {"last_acc": value(cell)}) for cell in study.cells]
        rules = Rules(rope=0.01, look=study.looks)
        return build_leaderboard(study, runs, "last_acc", rules=rules)  # type: ignore[arg-type]

    return Bench(judge)


@pytest.mark.parametrize("bench", [clear], indirect=True)
def test_what_is_decided_ends_at_once(bench: Bench, study: Study) -> None:
    """One round, and no more although the budget would pay for it."""
    outcome = bench.rounds().run(study, missing=True)
    assert (outcome.ending, outcome.study, bench.swept, bench.said) == ("decided", study, [study], [])
    assert outcome.board is not None


@pytest.mark.parametrize("bench", [clear], indirect=True)
def test_a_study_without_missing_cells_is_judged_without_a_sweep(bench: Bench, study: Study) -> None:
    """So the same command, once all is decided, answers at once."""
    assert bench.rounds(seconds=-1).run(study, missing=False).ending == "decided"
    assert bench.swept == []


@pytest.mark.parametrize("bench", [noisy], indirect=True)
def test_what_is_undecided_grows_until_no_more_seeds_are_taken(bench: Bench, study: Study) -> None:
    """Each round is another look, with more seeds, the same for a setting and the baseline."""
    outcome = bench.rounds().run(study, missing=True)
    assert outcome.ending == "no use"
    assert [swept.looks for swept in bench.swept] == list(range(1, len(bench.swept) + 1))
    assert len(bench.swept) > 2
    seeds = Counter(cell.recipe.normalization for cell in outcome.study.cells)
    assert seeds["pretrain"] == max(seeds.values()) <= MAX_SEEDS
    assert bench.said[0].startswith("round 2: 2 of 2 settings undecided; ")
    assert outcome.board is not None and outcome.board.rules.look == outcome.study.looks


@pytest.mark.parametrize("bench", [noisy], indirect=True)
def test_what_the_budget_does_not_pay_for_is_not_begun(bench: Bench, study: Study) -> None:
    """Not a single further seed for three settings: judged, and ended; the study stays as it was judged."""
    outcome = bench.rounds(seconds=100, cell_seconds=100 / 3).run(study, missing=False)
    assert (outcome.ending, outcome.study, bench.swept) == ("budget", study, [])
    assert outcome.board is not None
    enough = 3 * MARGIN * 1.01
    outcome = bench.rounds(seconds=100, cell_seconds=100 / enough).run(study, missing=False)
    assert len(bench.swept[0].cells) == len(study.cells) + 3


@pytest.mark.parametrize("bench", [noisy], indirect=True)
@pytest.mark.parametrize(
    ("summary", "ending"),
    [
        (Summary(ran=1, expired=True, left=2), "unfinished"),
        (Summary(ran=1, interrupted=True, left=2), "stopped"),
        (Summary(ran=1, paused="by hand", left=2), "paused"),
        (Summary(ran=1, elsewhere=2), "elsewhere"),
        (Summary(ran=0, left=2), "broken"),
    ],
)
def test_a_round_that_has_not_ended_is_not_judged(bench: Bench, study: Study, summary: Summary, ending: str) -> None:
    """It would be another look at it, and at runs that are missing."""
    bench.summary = summary
    outcome = bench.rounds().run(study, missing=True)
    assert (outcome.ending, outcome.board, outcome.decision) == (ending, None, None)


@pytest.mark.parametrize("bench", [clear], indirect=True)
def test_a_deadline_that_came_as_the_last_run_ended_spoils_nothing(bench: Bench, study: Study) -> None:
    """The round is whole."""
    bench.summary = Summary(ran=9, expired=True, left=0)
    assert bench.rounds().run(study, missing=True).ending == "decided"


@pytest.mark.parametrize("bench", [noisy], indirect=True)
def test_a_later_round_cut_short_leaves_the_verdicts_of_the_one_before(bench: Bench, study: Study) -> None:
    """And the grown study, with which the same command goes on."""
    summaries = iter([Summary(ran=9), Summary(ran=1, expired=True, left=5)])

    def sweep(swept: Study) -> Summary:
        bench.swept.append(swept)
        return next(summaries)

    rounds = bench.rounds()
    rounds.sweep = sweep
    outcome = rounds.run(study, missing=True)
    assert outcome.ending == "unfinished"
    assert outcome.study.looks == 2
    assert outcome.board is not None and outcome.board.rules.look == 1


@pytest.mark.parametrize("bench", [clear], indirect=True)
def test_without_time_nothing_is_begun(bench: Bench, study: Study) -> None:
    """A budget that is spent: nothing runs, nothing is judged."""
    outcome = bench.rounds(seconds=0).run(study, missing=True)
    assert (outcome.ending, outcome.board, bench.swept) == ("unfinished", None, [])


@pytest.mark.parametrize("bench", [noisy], indirect=True)
def test_trimming_keeps_pairs(bench: Bench, study: Study) -> None:
    """A seed is kept for all settings that were to get it or for none, the first ones first; old ones stay."""
    decision = next_seeds(study, bench.judge(study))
    assert decision.cells == 9
    assert trimmed(study, decision, 2) is None
    one = trimmed(study, decision, 5)
    assert one is not None
    assert one.more_seeds == dict.fromkeys(NAMES, (4,))
    assert one.looks == 2
    assert trimmed(study, decision, 9) == decision.study
    again = next_seeds(one, bench.judge(one))
    further = trimmed(one, again, 3)
    assert further is not None
    assert further.more_seeds == dict.fromkeys(NAMES, (4, 5))


@pytest.mark.parametrize("bench", [clear], indirect=True)
def test_nothing_to_grow_is_nothing_to_trim(bench: Bench, study: Study) -> None:
    """A decided table asks for no seed."""
    assert trimmed(study, next_seeds(study, bench.judge(study)), 100) is None
