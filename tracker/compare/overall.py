"""Statements over the whole table: one setting over all rows, and the settings ranked over datasets."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence

from tracker.compare.comparison import Comparison
from tracker.compare.inference import counts_variance
from tracker.compare.scores import Row, Score, Summary
from tracker.significance.pooled import PooledEffect, pool
from tracker.significance.ranks import TIE_DIGITS, RankComparison, compare_ranks

FEWEST_ROWS = 3
"""Two rows give an interval with one degree of freedom, 13 standard errors to each side: it says nothing."""


def summarize(setting: str, rows: Sequence[Row], baseline: str) -> Summary:
    """Sum a setting up over the rows of a table."""
    ranks = [rank for row in rows if row.is_complete and (rank := row.scores[setting].rank) is not None]
    deltas = [delta.mean for row in rows if (delta := row.scores[setting].delta) is not None]
    rounded = [round(delta, TIE_DIGITS) for delta in deltas]
    optimism = [o.optimism for row in rows for o in row.scores[setting].outcomes if o.optimism is not None]
    compared = [c for row in rows if (c := row.scores[setting].comparison) is not None]
    return Summary(
        average_rank=statistics.mean(ranks) if ranks else None,
        rank_rows=len(ranks),
        mean_delta=statistics.mean(deltas) if deltas else None,
        delta_rows=len(deltas),
        wins=sum(delta > 0 for delta in rounded),
        ties=sum(delta == 0 for delta in rounded),
        losses=sum(delta < 0 for delta in rounded),
        verdicts=dict(Counter(comparison.verdict for comparison in compared if not comparison.blocked)),
        effect=_effect(setting, rows, baseline),
        optimism=statistics.mean(optimism) if optimism else None,
    )


def rank_over_datasets(rows: Sequence[Row], settings: Sequence[str]) -> RankComparison | None:
    """Rank the settings within each dataset, by their means over its complete rows, and compare the ranks.

    Datasets are the blocks, not rows: two networks on one dataset are not two independent witnesses.
    """
    means: dict[str, list[list[float]]] = defaultdict(list)
    for row in rows:
        if row.is_complete:
            scores = [row.scores[setting].mean for setting in settings]
            means[str(row.label["dataset"])].append([mean for mean in scores if mean is not None])
    columns = [[statistics.mean(column) for column in zip(*found, strict=True)] for found in means.values()]
    by_setting = list(zip(*columns, strict=True))
    return compare_ranks(dict(zip(settings, by_setting, strict=True))) if by_setting else None


def _effect(setting: str, rows: Sequence[Row], baseline: str) -> PooledEffect | None:
    effects, variances = [], []
    for row in rows:
        score = row.scores[setting]
        if score.comparison is None or score.comparison.blocked:
            continue
        variance = _variance(score, score.comparison, row.scores[baseline])
        if variance:
            effects.append(score.comparison.mean)
            variances.append(variance)
    return pool(effects, variances) if len(effects) >= FEWEST_ROWS else None


def _variance(score: Score, comparison: Comparison, other: Score) -> float | None:
    """Return the variance of a row's difference; of one seed that of the images, the rest is between rows."""
    if comparison.noise is not None:
        return comparison.noise.variance()
    seed = next(iter(score.delta.by_seed)) if score.delta else None
    ours = next((outcome for outcome in score.outcomes if outcome.seed == seed), None)
    theirs = next((outcome for outcome in other.outcomes if outcome.seed == seed), None)
    return counts_variance(ours, theirs) if ours and theirs else None
