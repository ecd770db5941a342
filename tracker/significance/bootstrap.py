"""An interval by resampling at two levels: the seeds, and the test images that all of them share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tracker.significance.crossed import Noise

RESAMPLES = 2_000
"""They decide how the width is shared between the two sides of the mean, and nothing else."""
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

    Each resample draws n seeds and m images with replacement. The plain percentile interval is far
    too short with few seeds: at n = 2 its ends cannot leave the two differences, at n = 3 it has
    about 0.4 of the t interval's width. So it is stretched to the width that `noise` asks for; what
    the bootstrap says is how the width is shared between the two sides of the mean.
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
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    below, above = max(centre - float(low), 0.0), max(float(high) - centre, 0.0)
    share = below / (below + above) if below + above else 0.5
    width = 2 * (noise.half_width(level) if noise is not None else _half_width_of_images(differences, level))
    return centre - share * width, centre + (1 - share) * width


def _half_width_of_images(differences: NDArray[np.generic], level: float) -> float:
    """Return half the width that one seed's images give; never less than one image's, as in `Noise`."""
    m = differences.shape[1]
    sd = float(np.std(np.asarray(differences, dtype=np.float64), ddof=1))
    return float(stats.t.ppf((1 + level) / 2, m - 1) * max(sd / m**0.5, 1 / m))
