"""Round after round until the settings are told apart, or the time runs out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tracker.advise.growing import trimmed
from tracker.compare.deciding import MAX_SEEDS, Decision, next_seeds
from tracker.compare.scores import Leaderboard
from tracker.study.study import Study
from tracker.sweep.summary import Summary

MARGIN = 1.1
"""Runs are taken to cost so many times what they did: a round that does not end is a round that is not judged."""

Ending = Literal["decided", "no use", "budget", "unfinished", "stopped", "paused", "elsewhere", "broken"]
"""Why there is no further round: all is decided; no number of seeds would decide more; the time left does not pay for
another seed; the time ran out within a round; Ctrl-C; the study is paused; another process works on its cells; the
workers died before the runs were done."""


@dataclass(frozen=True)
class Outcome:
    """What the rounds came to.

    Args:
        study: as it stands, further seeds included.
        board: of the last round that has ended; None where none has.
        decision: what follows from it.
        cell_seconds: what a run takes, as measured; None where none was run.
        failures: (run, reason) of runs that failed for good.
    """

    study: Study
    board: Leaderboard | None
    decision: Decision | None
    ending: Ending
    cell_seconds: float | None
    failures: tuple[tuple[str, str], ...] = ()


@dataclass
class Rounds:
    """How rounds are run.

    Args:
        deadline: instant of `time.monotonic()` at which training stops.
        sweep: runs what is missing of a study.
        judge: compares a study's settings by its runs.
        say: told what a round is for.
        cell_seconds: what a run takes, where it is known from before.
    """

    deadline: float
    sweep: Callable[[Study], Summary]
    judge: Callable[[Study], Leaderboard]
    say: Callable[[str], None]
    cell_seconds: float | None = None

    def run(self, study: Study, missing: bool) -> Outcome:
        """Sweep, judge and grow a study.

        Args:
            missing: cells of the study wait; without any it is judged at once.
        """
        board: Leaderboard | None = None
        decision: Decision | None = None
        failures: tuple[tuple[str, str], ...] = ()
        while True:
            if missing:
                if self.remaining() <= 0:
                    return Outcome(study, board, decision, "unfinished", self.cell_seconds, failures)
                started = time.monotonic()
                summary = self.sweep(study)
                if summary.ran:
                    self.cell_seconds = (time.monotonic() - started) / summary.ran
                failures = tuple((row.name, f"{row.failure_kind}: {row.failure_message}") for row in summary.failures)
                if (cut := _cut_short(summary)) is not None:
                    return Outcome(study, board, decision, cut, self.cell_seconds, failures)
            board = self.judge(study)
            decision = next_seeds(study, board, MAX_SEEDS)
            if decision.study is None:
                ending: Ending = "no use" if decision.undecided else "decided"
                return Outcome(study, board, decision, ending, self.cell_seconds, failures)
            grown = trimmed(study, decision, self.affordable())
            if grown is None:
                return Outcome(study, board, decision, "budget", self.cell_seconds, failures)
            further = len(grown.cells) - len(study.cells)
            self.say(
                f"round {grown.looks}: {decision.undecided} of {decision.comparisons} settings undecided; "
                f"{further} further runs"
            )
            study, missing = grown, True

    def remaining(self) -> float:
        """Return the seconds left."""
        return self.deadline - time.monotonic()

    def affordable(self) -> int:
        """Return how many further runs the time left pays for."""
        if self.cell_seconds is None:
            return 0
        return max(0, int(self.remaining() / (MARGIN * self.cell_seconds)))


def _cut_short(summary: Summary) -> Ending | None:
    """Say why a round has not ended; None where it has, be it with failures."""
    if summary.interrupted:
        return "stopped"
    if summary.paused:
        return "paused"
    if summary.left:
        return "unfinished" if summary.expired else "broken"
    return "elsewhere" if summary.elsewhere else None
