"""Distances of distributions on a line are exact, whatever the weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tracker.vision.wasserstein import wasserstein, wasserstein_to_normal

values_and_counts = st.lists(
    st.tuples(st.integers(-40, 40), st.integers(0, 9)), min_size=1, max_size=12, unique_by=lambda pair: pair[0]
).filter(lambda pairs: any(count for _, count in pairs))


def discrete(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Make ascending values a tenth apart and their shares, zero among them."""
    values, counts = np.array(sorted(pairs), dtype=np.float64).T
    return values / 10, counts / counts.sum()


@given(values_and_counts, values_and_counts)
def test_two_discrete_distributions_as_scipy_has_it(
    pairs: list[tuple[int, int]], others: list[tuple[int, int]]
) -> None:
    """The distance is SciPy's, symmetric, and 0 from itself."""
    (values, weights), (other, shares) = discrete(pairs), discrete(others)
    expected = stats.wasserstein_distance(values, other, weights, shares)
    assert wasserstein(values, weights, other, shares) == pytest.approx(expected, abs=1e-12)
    assert wasserstein(other, shares, values, weights) == pytest.approx(expected, abs=1e-12)
    assert wasserstein(values, weights, values, weights) == 0


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_equal_samples_are_matched_in_order(sample: list[float], seed: int) -> None:
    """Of two samples of one size the distance is the mean difference of their sorted values."""
    one, other = np.sort(sample), np.sort(np.random.default_rng(seed).normal(size=len(sample)))
    shares = np.full(len(one), 1 / len(one))
    assert wasserstein(one, shares, other, shares) == pytest.approx(float(np.abs(one - other).mean()), abs=1e-9)


@given(values_and_counts)
def test_the_normal_distribution_is_met_in_closed_form(pairs: list[tuple[int, int]]) -> None:
    """The closed form agrees with matching quantiles one by one."""
    values, weights = discrete(pairs)
    quantiles = (np.arange(40_000) + 0.5) / 40_000
    own = values[np.clip(np.searchsorted(np.cumsum(weights), quantiles), 0, len(values) - 1)]
    expected = np.abs(own - stats.norm.ppf(quantiles)).mean()
    assert wasserstein_to_normal(values, weights) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("place", [-3.0, 0.0, 0.7])
def test_a_single_value_is_as_far_as_the_mean_distance_to_it(place: float) -> None:
    """All pixels of one value: E|Z - a|, the folded normal's mean."""
    expected = 2 * stats.norm.pdf(place) + place * (2 * stats.norm.cdf(place) - 1)
    assert wasserstein_to_normal(np.array([place]), np.array([1.0])) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("mean", "std", "expected"), [(0, 1, 0), (0.5, 1, 0.5), (0, 1.2, 0.2 * (2 / math.pi) ** 0.5)])
def test_normal_against_normal(mean: float, std: float, expected: float) -> None:
    """A displacement is its own distance; a stretching is its share of E|Z|."""
    fine = stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000, mean, std)
    found = wasserstein_to_normal(fine, np.full(len(fine), 1 / len(fine)))
    assert found == pytest.approx(expected, abs=1e-4)
