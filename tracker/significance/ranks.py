"""Settings ranked over datasets: Friedman's test and the critical difference of mean ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

TIE_DIGITS = 12
"""Scores are ranked after rounding to this many digits: sums of equal numbers in other orders are ties."""


def ranks_of(scores: Sequence[float]) -> NDArray[np.float64]:
    """Rank scores, the highest 1; ties share the average."""
    return np.asarray(stats.rankdata([-round(score, TIE_DIGITS) for score in scores]), dtype=np.float64)


@dataclass(frozen=True)
class RankComparison:
    """Settings compared over datasets by their ranks.

    Args:
        datasets: how many, the blocks of the test.
        mean_ranks: by setting, 1 is best.
        friedman_p: of the hypothesis that all settings are alike; None with fewer than 3 settings or 2 datasets.
        critical_difference: mean ranks that are less apart cannot be told apart (Nemenyi, two-sided, 5 %).
        cliques: the largest groups of settings, in order of rank, that cannot be told apart.
        datasets_needed: how many datasets bring the critical difference down to half of what ranks can differ by.
    """

    datasets: int
    mean_ranks: Mapping[str, float]
    friedman_p: float | None
    critical_difference: float
    cliques: tuple[tuple[str, ...], ...]
    datasets_needed: int

    @property
    def has_power(self) -> bool:
        """Whether a critical-difference diagram says anything: over few datasets it joins all settings."""
        return self.datasets >= self.datasets_needed


def compare_ranks(scores: Mapping[str, Sequence[float]], alpha: float = 0.05) -> RankComparison | None:
    """Rank settings within each dataset and test whether they differ.

    Args:
        scores: by setting, one score a dataset, in the same order; all of them present.

    Returns:
        None with fewer than 2 settings or without a dataset.

    Source: Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7 (2006).
    """
    settings = list(scores)
    table = np.array([scores[setting] for setting in settings], dtype=np.float64).T  # (datasets, settings)
    if len(settings) < 2 or not table.size:
        return None
    datasets, k = table.shape
    ranks = np.array([ranks_of(row) for row in table])
    means = {setting: float(mean) for setting, mean in zip(settings, ranks.mean(axis=0), strict=True)}
    difference = critical_difference(k, datasets, alpha)
    return RankComparison(
        datasets=datasets,
        mean_ranks=means,
        friedman_p=_friedman(ranks),
        critical_difference=difference,
        cliques=_cliques(means, difference),
        # The difference falls with the square root of the datasets; half of what ranks can differ by is (k - 1) / 2.
        datasets_needed=math.ceil((2 * critical_difference(k, 1, alpha) / (k - 1)) ** 2),
    )


def critical_difference(settings: int, datasets: int, alpha: float = 0.05) -> float:
    """Return Nemenyi's critical difference of mean ranks."""
    return float(_nemenyi(settings, alpha) * (settings * (settings + 1) / (6 * datasets)) ** 0.5)


@cache
def _nemenyi(settings: int, alpha: float) -> float:
    """Return Nemenyi's q, kept: SciPy integrates for tens of milliseconds."""
    return float(stats.studentized_range.ppf(1 - alpha, settings, np.inf)) / 2**0.5


def _friedman(ranks: NDArray[np.float64]) -> float | None:
    datasets, settings = ranks.shape
    if settings < 3 or datasets < 2:
        return None
    if (ranks == ranks[:, :1]).all():
        return 1.0
    return float(stats.friedmanchisquare(*ranks.T).pvalue)


def _cliques(means: Mapping[str, float], difference: float) -> tuple[tuple[str, ...], ...]:
    ordered = sorted(means, key=lambda setting: means[setting])
    groups: list[tuple[str, ...]] = []
    for start, first in enumerate(ordered):
        group = tuple(s for s in ordered[start:] if means[s] - means[first] < difference)
        if len(group) > 1 and not (groups and set(group) <= set(groups[-1])):
            groups.append(group)
    return tuple(groups)
