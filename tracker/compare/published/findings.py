"""What is computed from the 64 published results: Tables 1 and 2, z of each difference, the effect of each setting."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tracker.compare.overall import summarize
from tracker.compare.published.shifts import Shift, table_1
from tracker.compare.scores import Leaderboard, Row, Score
from tracker.significance.pooled import PooledEffect

BEYOND = 1.96
"""A larger |z| is beyond the noise of the test split: it comes up by chance in 5 % of comparisons."""

ALL = "all"
"""Stands for all datasets together."""


@dataclass(frozen=True)
class Difference:
    """Finetune against pretrain in one row of Table 2; accuracies and their difference are fractions.

    Args:
        z: of the two accuracies, as if measured on independent images.
    """

    model: str
    dataset: str
    finetune: float
    pretrain: float
    delta: float
    z: float


@dataclass(frozen=True)
class Effect:
    """One setting against pretrain, over all rows or over one dataset's.

    Args:
        dataset: or `ALL`.
        mean_delta: of the rows' differences, each counting the same.
        pooled: of the rows' differences, weighted by their noise, with its interval.
        wins, ties, losses: rows above, at and below pretrain.
        largest_z: the z that is farthest from 0.
        beyond: in how many rows |z| is above `BEYOND`.
    """

    setting: str
    dataset: str
    mean_delta: float
    pooled: PooledEffect
    wins: int
    ties: int
    losses: int
    largest_z: float
    beyond: int


@dataclass(frozen=True)
class Findings:
    """What is computed from the published results, before its claims are held against it.

    Args:
        differences: Table 2, in its order.
        effects: of every setting but pretrain, over all rows and over each dataset's.
        shifts: Table 1.
        undecided: comparisons with pretrain without a verdict, of
        comparisons: so many.
        bests: in how many rows each setting is best of the four.
    """

    differences: tuple[Difference, ...]
    effects: tuple[Effect, ...]
    shifts: tuple[Shift, ...]
    undecided: int
    comparisons: int
    bests: dict[str, int]

    @property
    def largest_z(self) -> float:
        """The z of Table 2 that is farthest from 0."""
        return max((difference.z for difference in self.differences), key=abs)

    @property
    def beyond(self) -> int:
        """How many differences of Table 2 are beyond the noise of the test split."""
        return sum(abs(difference.z) > BEYOND for difference in self.differences)

    @property
    def wins(self) -> int:
        """In how many rows of Table 2 finetune is above pretrain."""
        return sum(difference.delta > 0 for difference in self.differences)

    @property
    def mean_delta(self) -> float:
        """Mean of Table 2's differences."""
        return statistics.mean(difference.delta for difference in self.differences)

    def effect(self, setting: str, dataset: str = ALL) -> Effect:
        """Return a setting's effect over all rows, or over one dataset's."""
        return next(effect for effect in self.effects if (effect.setting, effect.dataset) == (setting, dataset))


def find(board: Leaderboard) -> Findings:
    """Compute from the published results what their claims are held against.

    Args:
        board: of the published results, against pretrain.
    """
    rows = {ALL: board.rows}
    for row in board.rows:
        dataset = str(row.label["dataset"])
        rows[dataset] = (*rows.get(dataset, ()), row)
    others = [setting for setting in board.settings if setting != board.baseline]
    comparisons = [score.comparison for row in board.rows for score in row.scores.values() if score.comparison]
    return Findings(
        differences=tuple(_difference(row) for row in board.rows),
        effects=tuple(
            _effect(setting, dataset, some, board.baseline) for setting in others for dataset, some in rows.items()
        ),
        shifts=table_1(),
        undecided=sum(comparison.verdict == "undecided" for comparison in comparisons),
        comparisons=len(comparisons),
        bests={setting: sum(row.scores[setting].is_best for row in board.rows) for setting in board.settings},
    )


def _difference(row: Row) -> Difference:
    ours, theirs = row.scores["finetune"], row.scores["pretrain"]
    assert ours.mean is not None and theirs.mean is not None and ours.delta is not None
    return Difference(
        model=str(row.label["model"]),
        dataset=str(row.label["dataset"]),
        finetune=ours.mean,
        pretrain=theirs.mean,
        delta=ours.delta.mean,
        z=_z(ours),
    )


def _effect(setting: str, dataset: str, rows: Sequence[Row], baseline: str) -> Effect:
    summary = summarize(setting, rows, baseline)
    scores = [row.scores[setting] for row in rows]
    assert summary.effect is not None
    return Effect(
        setting=setting,
        dataset=dataset,
        mean_delta=statistics.mean(score.delta.mean for score in scores if score.delta),
        pooled=summary.effect,
        wins=summary.wins,
        ties=summary.ties,
        losses=summary.losses,
        largest_z=max(map(_z, scores), key=abs),
        beyond=sum(abs(_z(score)) > BEYOND for score in scores),
    )


def _z(score: Score) -> float:
    assert score.comparison is not None and score.comparison.z is not None
    return score.comparison.z
