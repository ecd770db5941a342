"""Where the noise of a paired difference comes from: seeds, test images, and the two together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Noise:
    """The variance components of a difference that was measured at some seeds, on some test images.

    The model is a crossed two-way layout without replication: the difference of seed s at image i
    is mean + seed effect + image effect + rest, and the images are the same at every seed. The mean
    over n seeds and m images then has the variance

        (seed variance + rest / m) / n  +  image variance / m

    of which more seeds lower the first part only.

    Args:
        seeds: n, at least 2.
        images: m; 0 where the difference is known by seed alone, and the images' share is not.
        between_seeds: variance of the seeds' means, seed variance + rest / m.
        from_images: image variance / m.
    """

    seeds: int
    images: int
    between_seeds: float
    from_images: float

    def variance(self, seeds: int | None = None) -> float:
        """Return the variance of the mean over so many seeds; those there are if None."""
        return self.between_seeds / (seeds or self.seeds) + self.from_images

    def freedom(self, seeds: int | None = None) -> float:
        """Return the degrees of freedom of that variance, by Satterthwaite: seeds - 1 where images add nothing."""
        seeds = seeds or self.seeds
        first = self.between_seeds / seeds
        total = first + self.from_images
        if total == 0 or self.images < 2:
            return seeds - 1.0
        return total**2 / (first**2 / (seeds - 1) + self.from_images**2 / (self.images - 1))

    def half_width(self, level: float, seeds: int | None = None) -> float:
        """Return half the width of the t interval of this level: two-sided, 0.95 leaves 2.5 % on each side."""
        return float(stats.t.ppf((1 + level) / 2, self.freedom(seeds)) * self.variance(seeds) ** 0.5)

    def p_value(self, mean: float) -> float:
        """Return the two-sided p of the hypothesis that the true mean is 0; 1 where mean and variance are both 0."""
        if self.variance() == 0:
            return 1.0 if mean == 0 else 0.0
        return float(2 * stats.t.sf(abs(mean) / self.variance() ** 0.5, self.freedom()))


def noise_of_layout(differences: Array) -> Noise:
    """Estimate the components from every seed's difference at every test image.

    The seeds' mean square is never taken to be smaller than the rest's, which it is in expectation:
    with three seeds it happens by chance, and would make an interval that is too short.

    Args:
        differences: (n, m), n and m at least 2: 1 where only the setting is right about the image,
            -1 where only the baseline is, else 0.

    Source: the method of moments for two crossed random factors (Searle, Casella and McCulloch,
        "Variance Components", 1992, ch. 4).
    """
    layout = np.asarray(differences, dtype=np.float64)  # (n, m)
    seeds, images = layout.shape
    by_seed, by_image, mean = layout.mean(axis=1), layout.mean(axis=0), layout.mean()
    seed_sum = images * float(((by_seed - mean) ** 2).sum())
    image_sum = seeds * float(((by_image - mean) ** 2).sum())
    rest_sum = max(float(((layout - mean) ** 2).sum()) - seed_sum - image_sum, 0.0)
    rest = rest_sum / ((seeds - 1) * (images - 1))
    return Noise(
        seeds=seeds,
        images=images,
        between_seeds=max(seed_sum / (seeds - 1), rest) / images,
        from_images=max(image_sum / (images - 1) - rest, 0.0) / (seeds * images),
    )


def noise_of_seeds(differences: Sequence[float]) -> Noise:
    """Estimate the noise from the seeds' mean differences alone.

    Which images the test split happens to hold is then taken as given: the interval is about these.

    Args:
        differences: one a seed, at least 2.
    """
    return Noise(len(differences), 0, float(np.var(np.asarray(differences), ddof=1)), 0.0)
