"""Wasserstein distances of distributions on a line, exact."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]


def wasserstein(values: Floats, weights: Floats, others: Floats, other_weights: Floats) -> float:
    """Return the 1-Wasserstein distance of two discrete distributions: the area between their distribution functions.

    Args:
        values, others: ascending.
        weights, other_weights: their shares.
    """
    points = np.sort(np.concatenate([values, others]))
    one = _cumulated(weights)[np.searchsorted(values, points[:-1], side="right")]
    other = _cumulated(other_weights)[np.searchsorted(others, points[:-1], side="right")]
    return float(np.abs(one - other) @ np.diff(points))


def wasserstein_to_normal(values: Floats, weights: Floats) -> float:
    """Return the 1-Wasserstein distance of a discrete distribution from the standard normal one, in closed form.

    Between two values the first's distribution function is flat and crosses the other's once at most.
    """
    level = _cumulated(weights)[1:-1]
    left, right = values[:-1], values[1:]
    cross = np.clip(ndtri(level), left, right)
    area, crossed = _area(values), _area(cross)
    below = level * (cross - left) - (crossed - area[:-1])
    above = area[1:] - crossed - level * (right - cross)
    return float(below.sum() + above.sum() + area[0] + _area(-values[-1:])[0])


def _area(x: Floats) -> Floats:
    """Return the area under the normal distribution function up to x."""
    return np.asarray(x * ndtr(x) + np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi), dtype=np.float64)


def _cumulated(weights: Floats) -> Floats:
    return np.asarray(np.clip(np.concatenate([[0.0], np.cumsum(weights)]), 0.0, 1.0), dtype=np.float64)
