"""Where the noise of a paired difference comes from: seeds, test images, and the two together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Array = NDArray[np.generic]

EQUAL = 1e-6
"""Differences of accuracies that are less apart are equal but for rounding: one image of a million."""
SMALLEST_P = 1e-50
"""Smaller ones are 0."""


@dataclass(frozen=True)
class Noise:
    """The variance components of a difference that was measured at some seeds, on some test images.

    The model is a crossed two-way layout without replication: the difference of seed s at image i
    is mean + seed effect + image effect + rest, and the images are the same at every seed. The mean
    over n seeds and m images then has the variance

        (seed variance + rest / m) / n  +  image variance / m

    of which more seeds lower the first part only. It is never taken to be less than 1 / m^2, a
    standard deviation of one image: m images without a single difference still allow for one.

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

    def parts(self, seeds: int | None = None) -> tuple[float, float]:
        """Return what seeds and images add to the variance of the mean over so many seeds; those there are if None."""
        by_seeds = self.between_seeds / (seeds or self.seeds)
        smallest = 1 / self.images**2 if self.images else 0.0
        return by_seeds, max(self.from_images, smallest - by_seeds)

    def variance(self, seeds: int | None = None) -> float:
        """Return the variance of the mean over so many seeds; 0 if all agree and nothing is known of the images."""
        return sum(self.parts(seeds))

    def half_width(self, level: float, seeds: int | None = None) -> float:
        """Return half the width of the t interval of this level: two-sided, 0.95 leaves 2.5 % on each side.

        The quantile is the mean of two of Student's, with seeds - 1 and images - 1 degrees of
        freedom, weighted by what each part adds to the variance. Satterthwaite's single number of
        degrees of freedom trusts the seeds' variance most where it came out too small by chance; with
        few seeds small p-values are then far too frequent (docs/statistics.md has the number).

        Returns:
            Infinite where the variance is 0: seeds that agree show no noise, and do not show that there is none.

        Source: Cochran and Cox, "Experimental Designs" (1950), for two means of unequal variance.
        """
        return self._half_width(1 - level, seeds or self.seeds)

    def p_value(self, mean: float) -> float:
        """Return the two-sided p of the hypothesis that the true mean is 0: 1 - the level whose interval ends at 0."""
        if mean == 0 or self.variance() == 0:
            return 1.0

        def excess(log_p: float) -> float:
            return self._half_width(math.exp(log_p), self.seeds) - abs(mean)

        smallest = math.log(SMALLEST_P)
        return math.exp(optimize.brentq(excess, smallest, 0.0)) if excess(smallest) > 0 else 0.0

    def _half_width(self, p: float, seeds: int) -> float:
        by_seeds, by_images = self.parts(seeds)
        variance = by_seeds + by_images
        if variance == 0:
            return math.inf
        width = by_seeds * _two_sided(p, seeds - 1)
        if by_images:
            width += by_images * _two_sided(p, self.images - 1)
        return float(width / variance**0.5)


def _two_sided(p: float, freedom: int) -> float:
    """Return what Student's t exceeds, up or down, with the probability p."""
    return -float(special.stdtrit(freedom, p / 2))


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
    values = np.asarray(differences, dtype=np.float64)
    spread = float(np.ptp(values)) > EQUAL
    return Noise(len(values), 0, float(np.var(values, ddof=1)) if spread else 0.0, 0.0)
