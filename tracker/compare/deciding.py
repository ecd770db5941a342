"""From the comparisons of a table that are undecided to the further seeds that they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from typing import Literal

from tracker.compare.comparison import Comparison, Rules
from tracker.compare.inference import count_open_tests
from tracker.compare.scores import Leaderboard, Row, Score
from tracker.significance.multiplicity import level_at_look
from tracker.significance.verdicts import FIRST_SEEDS, further_seeds
from tracker.study.study import Study

MAX_SEEDS = 20
SEED_LIMIT = 2**63
"""A seed is below it."""

Reason = Literal["seeds", "images", "noise", "conditions", "cells"]
"""Why no further seeds are added: there are as many as may be; the test images leave too much noise, or the seeds, for
any number of them; the runs cannot be compared; no seed is measured in both settings."""


@dataclass(frozen=True)
class Open:
    """A comparison that stays undecided, and why."""

    row: str
    setting: str
    reason: Reason


@dataclass(frozen=True)
class Decision:
    """What follows from a table.

    Args:
        study: with the further seeds, to be looked at once more; None where there is nothing to add.
        added: the further seeds by row and setting, the baseline's among them.
        comparisons: how many the table has.
        undecided: how many of them are.
        left: those of them that get no further seed.
    """

    study: Study | None
    added: Mapping[tuple[str, str], tuple[int, ...]]
    comparisons: int
    undecided: int
    left: tuple[Open, ...]

    @property
    def cells(self) -> int:
        """How many cells are added."""
        return sum(map(len, self.added.values()))


def next_seeds(study: Study, board: Leaderboard, max_seeds: int = MAX_SEEDS) -> Decision:
    """Grow a study by the seeds that its undecided comparisons need, and by no other cell.

    Seeds are paired, so a setting and its row's baseline get the same ones: first those that one of
    the two has already, then new ones, which settings of a row share.

    Args:
        board: of this very study, all of its cells settled.
        max_seeds: a configuration gets no further seed that would be more than so many.
    """
    scores = [(row, name, score) for row in board.rows for name, score in row.scores.items()]
    compared = [(row, name, score) for row, name, score in scores if name != board.baseline]
    undecided = [(row, name, score) for row, name, score in compared if not _is_decided(score.comparison)]
    open_tests = count_open_tests(score.comparison for _, _, score in compared if score.comparison is not None)
    left = []
    growing = {row.name: _Seeds(row, board.baseline, max_seeds) for row in board.rows}
    for row, name, score in undecided:
        wanted = _wanted(score.comparison, board.rules, open_tests)
        if not isinstance(wanted, int):
            left.append(Open(row.name, name, wanted))
        elif not growing[row.name].add(name, wanted):
            left.append(Open(row.name, name, "seeds"))
    added = {
        (row.name, name): tuple(seeds) for row in board.rows for name, seeds in growing[row.name].added.items() if seeds
    }
    return Decision(
        study=_grown(study, board.rows, added) if added else None,
        added=added,
        comparisons=len(compared),
        undecided=len(undecided),
        left=tuple(left),
    )


def _is_decided(comparison: Comparison | None) -> bool:
    return comparison is not None and not comparison.blocked and comparison.verdict != "undecided"


def _wanted(comparison: Comparison | None, rules: Rules, open_tests: int) -> int | Reason:
    """Return how many further pairs of cells to add for an undecided comparison, or why there is no use in any."""
    if comparison is None:
        return "cells"
    if comparison.blocked:
        return "conditions"
    # It will be judged at the next look, which is stricter than the one that found it undecided.
    level = level_at_look(rules.look + 1)
    further = further_seeds(comparison.mean, comparison.noise, rules.rope, level, open_tests)
    if further is None:
        return "images" if comparison.noise is not None and comparison.noise.images else "noise"
    # Never more than double: a variance estimated from 3 seeds is between 0.03 and 3.7 times the true one in 95 % of
    # cases (chi-squared, 2 degrees of freedom), and so is the number of seeds told by it. Another look costs little.
    return min(further, max(comparison.pairs, FIRST_SEEDS - 1))


class _Seeds:
    """Which seeds the settings of one row have, and get.

    Args:
        limit: how many a configuration may have.
    """

    def __init__(self, row: Row, baseline: str, limit: int) -> None:
        self._baseline = baseline
        self._limit = limit
        self._planned = {name: [outcome.seed for outcome in score.outcomes] for name, score in row.scores.items()}
        self._unusable = {name: _unmeasured(score) for name, score in row.scores.items()}
        self.added: dict[str, list[int]] = {name: [] for name in row.scores}

    def add(self, setting: str, wanted: int) -> int:
        """Add up to so many seeds at which setting and baseline will both be measured; return how many."""
        found = 0
        for seed in self._candidates(setting, wanted):
            lacking = [name for name in (setting, self._baseline) if seed not in self._planned[name]]
            if found < wanted and all(len(self._planned[name]) < self._limit for name in lacking):
                for name in lacking:
                    self._planned[name].append(seed)
                    self.added[name].append(seed)
                found += 1
        return found

    def _candidates(self, setting: str, wanted: int) -> list[int]:
        """Return seeds that would make a new pair: those that lack one cell, then so many that the row has not."""
        ours, theirs = self._planned[setting], self._planned[self._baseline]
        unusable = self._unusable[setting] | self._unusable[self._baseline]
        half = [seed for seed in (*theirs, *ours) if (seed in ours) != (seed in theirs) and seed not in unusable]
        used = set(chain(*self._planned.values()))
        new = (seed for seed in chain(range(max(used) + 1, SEED_LIMIT), count()) if seed not in used)
        return [*half, *islice(new, wanted)]


def _unmeasured(score: Score) -> set[int]:
    """Return the seeds that will not give a value: their cells have ended without one."""
    return {outcome.seed for outcome in score.outcomes if outcome.state != "measured"}


def _grown(study: Study, rows: Sequence[Row], added: Mapping[tuple[str, str], tuple[int, ...]]) -> Study:
    """Return the study with further seeds, at its next look."""
    names = {cell.name: cell.configuration_name for cell in study.cells}
    more_seeds = dict(study.more_seeds)
    for row in rows:
        for setting, score in row.scores.items():
            name = names[score.outcomes[0].name]
            if further := added.get((row.name, setting)):
                more_seeds[name] = (*more_seeds.get(name, ()), *further)
    return study.with_fields(more_seeds=more_seeds, looks=study.looks + 1)
