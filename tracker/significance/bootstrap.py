"""An interval by resampling at two levels: the seeds, and the test images that all of them share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tracker.significance.crossed import Noise

RESAMPLES = 2_000
"""An end of the interval then has a standard error of about 3 % of its half-width."""
BLOCK = 250
"""Resamples held in memory at once: 26 MB at SVHN's 26,032 test images."""
SEED = 20_180_614
"""Of the resampling; a table comes out the same each time."""

Interval = tuple[float, float]


class ImageResamples:
    """How often each test image is drawn, resample by resample; drawn once for all comparisons on one test split."""

    def __init__(self, images: int, resamples: int = RESAMPLES, seed: int = SEED) -> None:
        self.images = images
        self.resamples = resamples
        generator = np.random.default_rng([seed, images])
        self._counts: list[NDArray[np.uint8]] = []
        for start in range(0, resamples, BLOCK):
            rows = min(BLOCK, resamples - start)
            drawn = generator.integers(0, images, (rows, images))
            drawn += images * np.arange(rows)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=rows * images).reshape(rows, images)
            self._counts.append(np.minimum(counts, 255).astype(np.uint8))

    def means(self, differences: NDArray[np.generic]) -> NDArray[np.float64]:
        """Return each seed's mean difference over each resample of the images.

        Args:
            differences: (n, m), m the number of images.

        Returns:
            (resamples, n)
        """
        layout = np.ascontiguousarray(differences, dtype=np.float32).T  # (m, n)
        # Whole numbers below 2^24 add up exactly in float32, so the order of the sum does not show.
        sums = [counts.astype(np.float32) @ layout for counts in self._counts]
        return np.concatenate(sums).astype(np.float64) / self.images


def bootstrap_interval(
    differences: NDArray[np.generic],
    noise: Noise | None,
    images: ImageResamples,
    level: float = 0.95,
    seed: int = SEED,
) -> Interval:
    """Return the two-level bootstrap interval of the mean difference.

    Each resample draws n seeds and m images with replacement. With few seeds the plain percentile
    interval is far too short (three seeds miss two thirds of the t interval's width), and crossed
    resampling counts the rest's variance three times; so deviations are stretched by one factor
    that gives the interval the variance and the degrees of freedom of `noise`, and keeps its shape.
    docs/statistics.md tells the coverage that was measured.

    Args:
        differences: (n, m), as `noise_of_layout` takes them.
        noise: what it made of them; None at n = 1, where images alone are resampled and the interval
            is about these two networks, not about their settings.
        images: resamples of m images.
        level: two-sided.

    Source: Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007); for the
        stretching, Hesterberg, "What Teachers Should Know About the Bootstrap" (2015), section 3.2.
    """
    n = len(differences)
    means = images.means(differences)  # (resamples, n)
    weights = np.random.default_rng([seed, n]).multinomial(n, np.full(n, 1 / n), len(means))  # (resamples, n)
    drawn = (weights * means).sum(axis=1) / n
    centre = float(differences.mean())
    tails = [(1 - level) / 2, (1 + level) / 2]
    deviations = np.quantile(drawn, tails) - centre
    if noise is not None:
        spread = float(np.var(drawn))
        wanted = noise.half_width(level)
        if spread == 0:
            return centre - wanted, centre + wanted
        deviations *= wanted / (float(stats.norm.ppf(tails[1])) * spread**0.5)
    low, high = centre + deviations
    return float(low), float(high)
