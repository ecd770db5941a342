"""What a leaderboard is made of: outcomes of cells, scores of settings, rows, and the table itself.

All accuracies are fractions; all differences are fractions too, setting minus baseline.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from tracker.compare.comparison import Comparison, Rules
from tracker.significance.pooled import PooledEffect
from tracker.significance.ranks import RankComparison
from tracker.significance.verdicts import Verdict
from tracker.study.recipe import Scalar

State = Literal["measured", "unmeasured", "running", "stopped", "failed", "missing"]
"""What became of a cell: finished with the metric, finished without it, at work, interrupted, failed, never run."""

OPEN_STATES: tuple[State, ...] = ("failed", "stopped", "running", "missing", "unmeasured")
"""The states that leave a gap in the table, in the order they are told."""


@dataclass(frozen=True)
class Outcome:
    """What became of one cell.

    Args:
        cell_id: the cell's content id.
        name: the cell's readable name.
        seed: its replicate.
        state: `measured` exactly if there is a value.
        value: the metric, a fraction.
        run_id: the run that counts; without a finished one, the newest; None if it never ran.
        test_images: how many images the value is the mean of, where the run says so.
        finished_runs: how many runs finished with this content; the newest of them counts.
        conditions: what the run says of the conditions it was made under, by tag.
        optimism: best_acc - last_acc of the run: what choosing the epoch on the test split adds.
    """

    cell_id: str
    name: str
    seed: int
    state: State
    value: float | None
    run_id: str | None
    test_images: int | None
    finished_runs: int
    conditions: Mapping[str, str]
    optimism: float | None


@dataclass(frozen=True)
class Delta:
    """A setting minus the baseline, paired: over the seeds that both have.

    Args:
        by_seed: the difference at each common seed; at least one.
    """

    by_seed: Mapping[int, float]

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self.by_seed)

    @cached_property
    def mean(self) -> float:
        """Mean of the paired differences."""
        return statistics.mean(self.by_seed.values())


@dataclass(frozen=True)
class Score:
    """One setting in one row.

    Args:
        outcomes: one a seed of the study, in the study's order, whatever became of it.
        mean: over the measured seeds; None without any.
        sd: sample standard deviation over them (ddof 1); None for fewer than two.
        delta: None for the baseline itself, and where the two have no seed in common.
        rank: by mean among the row's settings that have one, 1 is best, ties share the average.
        is_best: highest mean of the row; ties are all best.
        is_second: exactly one setting of the row has a higher mean.
        comparison: with the baseline, where there is a delta.
    """

    outcomes: tuple[Outcome, ...]
    mean: float | None
    sd: float | None
    delta: Delta | None
    rank: float | None
    is_best: bool
    is_second: bool
    comparison: Comparison | None = None

    @cached_property
    def values(self) -> dict[int, float]:
        """The metric by seed, measured seeds only."""
        return {outcome.seed: outcome.value for outcome in self.outcomes if outcome.value is not None}

    @property
    def n(self) -> int:
        """Number of measured seeds."""
        return len(self.values)

    @property
    def expected(self) -> int:
        """Number of seeds the study has."""
        return len(self.outcomes)

    @property
    def is_complete(self) -> bool:
        """Whether every seed is measured."""
        return self.n == self.expected

    @property
    def optimism(self) -> float | None:
        """Mean of best_acc - last_acc over the measured seeds that have both."""
        found = [outcome.optimism for outcome in self.outcomes if outcome.optimism is not None]
        return statistics.mean(found) if found else None

    @cached_property
    def gaps(self) -> dict[State, int]:
        """How many cells are in each state that leaves a gap; states with none are left out."""
        counts = Counter(outcome.state for outcome in self.outcomes)
        return {state: counts[state] for state in OPEN_STATES if counts[state]}


@dataclass(frozen=True)
class Row:
    """Cells that differ only in normalization and seed.

    Args:
        label: model, dataset, and every other axis of the study that varies.
        scores: by setting, in the study's order.
    """

    label: Mapping[str, Scalar]
    scores: Mapping[str, Score]

    @property
    def is_complete(self) -> bool:
        """Whether every setting is measured at every seed."""
        return all(score.is_complete for score in self.scores.values())

    @property
    def name(self) -> str:
        """The label in one line, as cells are named: `resnet18/digits/head/lr=0.001`."""
        return "/".join(value if isinstance(value, str) else f"{key}={value}" for key, value in self.label.items())


@dataclass(frozen=True)
class Summary:
    """One setting over the whole table.

    Rows are not independent where they share a dataset; `effect` and the counts are over rows all the same.

    Args:
        average_rank: over the complete rows, None if there is none.
        rank_rows: how many rows those are.
        mean_delta: mean over rows of the row's delta; None for the baseline, or if no row has one.
        delta_rows: how many rows those are.
        wins, ties, losses: rows with a delta above, at and below 0.
        verdicts: how many rows have each verdict; those with none are left out.
        effect: the mean effect over rows with its interval, rows being a sample of such rows; None for
            fewer than three rows whose noise is known.
        optimism: mean over measured cells of best_acc - last_acc; None where runs do not have both.
    """

    average_rank: float | None
    rank_rows: int
    mean_delta: float | None
    delta_rows: int
    wins: int
    ties: int
    losses: int
    verdicts: Mapping[Verdict, int]
    effect: PooledEffect | None
    optimism: float | None


@dataclass(frozen=True)
class Leaderboard:
    """A study's settings, row by row, by one metric.

    Args:
        study: its name.
        question: what it asks.
        metric: one of `RANKING_METRICS`.
        selection: the rule that picked the epoch.
        baseline: the setting that deltas are taken against.
        settings: the normalizations, in the study's order.
        rows: in the order of the grid.
        summaries: by setting.
        ranks: the settings ranked over datasets; None where no dataset has all of them.
        rules: by which verdicts were made.
        notes: sentences that a reader must know beside the numbers.
        swept_as: the study that a hint to run more names.
    """

    study: str
    question: str
    metric: str
    selection: str
    baseline: str
    settings: tuple[str, ...]
    rows: tuple[Row, ...]
    summaries: Mapping[str, Summary]
    ranks: RankComparison | None
    rules: Rules
    notes: tuple[str, ...]
    swept_as: str

    @property
    def label_keys(self) -> tuple[str, ...]:
        """The names of what tells rows apart."""
        return tuple(self.rows[0].label)

    @cached_property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Every cell of the study."""
        return tuple(outcome for row in self.rows for score in row.scores.values() for outcome in score.outcomes)

    @property
    def uniform_n(self) -> int | None:
        """The number of seeds behind every score, None where it differs or a cell is not measured."""
        counts = {score.n for row in self.rows for score in row.scores.values()}
        return counts.pop() if len(counts) == 1 and all(row.is_complete for row in self.rows) else None
