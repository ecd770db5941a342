"""Tests of paired differences that stand beside the interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from tracker.significance.crossed import EQUAL

SMALLEST_SIGN_FLIP = 6
"""Fewer pairs cannot reach p = 0.05: the smallest two-sided p of n pairs is 2 / 2^n, at n = 5 0.0625."""
EXACT_SIGN_FLIP = 16
"""Up to so many pairs all sign patterns are looked at; above, random ones."""
RANDOM_FLIPS = 20_000
SEED = 20_180_614


def t_interval(differences: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Return Student's interval of the mean over seeds; None for fewer than two, or if all are equal."""
    n = len(differences)
    if n < 2 or np.ptp(differences) <= EQUAL:
        return None
    half = float(stats.t.ppf((1 + level) / 2, n - 1) * np.std(differences, ddof=1)) / n**0.5
    mean = float(np.mean(differences))
    return mean - half, mean + half


@dataclass(frozen=True)
class McNemar:
    """The exact test of one seed's two networks on one test split.

    Args:
        gained: images that only the setting is right about.
        lost: images that only the baseline is right about.
        p: two-sided, exact: gained is Binomial(gained + lost, 1/2) if neither network is better.
    """

    gained: int
    lost: int
    p: float


def mcnemar(differences: NDArray[np.int8]) -> McNemar:
    """Test one seed's difference.

    Args:
        differences: (m,): 1, 0 or -1 an image, as in `noise_of_layout`.

    Source: McNemar, Psychometrika 12 (1947), exact form.
    """
    gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
    p = min(1.0, 2 * float(special.bdtr(min(gained, lost), gained + lost, 0.5)))
    return McNemar(gained, lost, p)


def sign_flip(differences: Sequence[float]) -> float | None:
    """Return the two-sided p of a sign-flip permutation test of the mean; None where it has no power.

    All sign patterns are looked at up to `EXACT_SIGN_FLIP` pairs, `RANDOM_FLIPS` random ones above.

    Args:
        differences: one a seed.
    """
    n = len(differences)
    if n < SMALLEST_SIGN_FLIP:
        return None
    values = np.asarray(differences, dtype=np.float64)
    # Equal sums in another order are equal. Rounding is of the size of the terms, not of a sum that may be near 0.
    observed = abs(values.sum()) - 1e-12 * np.abs(values).sum()
    if n <= EXACT_SIGN_FLIP:
        signs = 1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)  # (2^n, n)
        return float((np.abs(signs @ values) >= observed).mean())
    signs = np.random.default_rng([SEED, n]).choice((-1.0, 1.0), (RANDOM_FLIPS, n))
    return (int((np.abs(signs @ values) >= observed).sum()) + 1) / (RANDOM_FLIPS + 1)


def sampling_variance(accuracy: float, images: int) -> float:
    """Return the variance that an accuracy has because the test split holds these images and not others: binomial."""
    return accuracy * (1 - accuracy) / images


def unpaired_z(first: float, second: float, images: int, second_images: int | None = None) -> float:
    """Return z of two accuracies, as if measured on independent test splits: what single published numbers allow.

    Args:
        first: a fraction.
        second: a fraction.
        images: how many `first` is the mean of.
        second_images: the same for `second`; as many if None.

    Returns:
        (first - second) / sqrt(p (1 - p) / m of each); 0 if they are equal, infinite if both are 0 or 1.
    """
    if first == second:
        return 0.0
    variance = sampling_variance(first, images) + sampling_variance(second, second_images or images)
    return (first - second) / variance**0.5 if variance else float(np.copysign(np.inf, first - second))
