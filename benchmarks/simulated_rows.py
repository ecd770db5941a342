"""Simulated rows of a table whose truth is known: which test images the networks of each setting are right about."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

Floats = NDArray[np.float32]
Layout = NDArray[np.int8]

SETTINGS = 3
"""Beside the baseline, as in the reference study."""
ACCURACY = 0.95
DISCORDANCE = (0.02, 0.08)
"""Share of images that only one of two networks is right about; each row draws its own."""
SEED_SD = (0.002, 0.005)
"""Standard deviation, over seeds, of the difference that would be measured on infinitely many images."""
SETTING_SHARE = 0.5
"""Of what makes two networks differ at an image, the share that is the settings' and comes back at every seed."""


class Row:
    """A row of a study that could go on for ever: which test images are classified correctly.

    A network of setting g and seed s is right about image i where

        ability[g] + shift[g, s] > sqrt(a) * difficulty[i] + sqrt(b) * taste[g, i] + sqrt(c) * chance[g, s, i]

    with all of shift, difficulty, taste and chance normal, and a + b + c = 1. The baseline, setting 0,
    is the same in all comparisons.

    Args:
        images: m.
        effect: true difference of the last setting to the baseline, a fraction; the others have none.
    """

    def __init__(self, rng: np.random.Generator, images: int, effect: float) -> None:
        self._rng = rng
        self._images = images
        threshold = float(special.ndtri(ACCURACY))
        self._shift_sd = rng.uniform(*SEED_SD) / 2**0.5 / float(stats.norm.pdf(threshold))
        spread = (1 + self._shift_sd**2) ** 0.5
        abilities = special.ndtri(ACCURACY + np.array([0.0] * SETTINGS + [effect])) * spread  # (settings + 1,)
        common = _correlation(threshold, rng.uniform(*DISCORDANCE))
        self._chance = ((1 - common) * (1 - SETTING_SHARE)) ** 0.5
        taste = self._normal(SETTINGS + 1, images) * np.float32(((1 - common) * SETTING_SHARE) ** 0.5)
        self._margins = abilities.astype(np.float32)[:, None] - taste - self._normal(images) * np.float32(common**0.5)

    def more_seeds(self, seeds: int) -> Layout:
        """Return (settings, seeds, m) of further seeds: setting minus baseline, 1, 0 or -1 an image."""
        shape = (SETTINGS + 1, seeds, self._images)
        shift = self._rng.normal(0, self._shift_sd, (SETTINGS + 1, seeds, 1)).astype(np.float32)
        right: NDArray[np.bool_] = self._margins[:, None] + shift > self._normal(*shape) * np.float32(self._chance)
        return right[1:].astype(np.int8) - right[:1].astype(np.int8)

    def _normal(self, *shape: int) -> Floats:
        return self._rng.standard_normal(shape, dtype=np.float32)


def _correlation(threshold: float, discordance: float) -> float:
    """Return the correlation of two networks' margins at which so many images are classified otherwise."""

    def excess(correlation: float) -> float:
        apart = ((1 - correlation) / (1 + correlation)) ** 0.5
        return 4 * float(special.owens_t(threshold, apart)) - discordance

    return float(optimize.brentq(excess, 0.0, 0.9999))
