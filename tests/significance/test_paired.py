"""Rules of the tests beside the interval: they are those of scipy and statsmodels."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.proportion import test_proportions_2indep as two_proportions

from tracker.significance.crossed import EQUAL
from tracker.significance.paired import EXACT_SIGN_FLIP, SMALLEST_SIGN_FLIP, mcnemar, sign_flip, t_interval, unpaired_z

DIFFERENCES = st.floats(-0.1, 0.1)
LATTICE = st.integers(-30, 30).map(lambda images: images / 300)  # what accuracies over 300 images can differ by


@given(st.lists(DIFFERENCES, min_size=2, max_size=20).filter(lambda x: np.ptp(x) > 2 * EQUAL))
def test_the_t_interval_is_scipys(differences: list[float]) -> None:
    """Student's interval is that of scipy's paired t test, of two accuracies with these differences."""
    baseline = np.full(len(differences), 0.5)
    expected = stats.ttest_rel(baseline + differences, baseline).confidence_interval(0.95)
    assert t_interval(differences) == pytest.approx(tuple(expected), abs=1e-12)


@pytest.mark.parametrize("differences", [[], [0.01], [0.01, 0.01], [0.9 - 0.8, 0.8 - 0.7]])
def test_there_is_no_t_interval_without_a_spread(differences: list[float]) -> None:
    """One seed, or seeds that agree but for rounding, have no interval, rather than one without width."""
    assert t_interval(differences) is None


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 50))
def test_mcnemar_is_that_of_statsmodels(gained: int, lost: int, same: int) -> None:
    """The exact p depends on the two discordant counts alone and is statsmodels'."""
    differences = np.array([1] * gained + [-1] * lost + [0] * same, dtype=np.int8)
    found = mcnemar(differences)
    assert (found.gained, found.lost) == (gained, lost)
    assert found.p == pytest.approx(their_mcnemar([[same, lost], [gained, 0]], exact=True).pvalue)
    assert mcnemar(-differences).p == found.p


@settings(max_examples=30)
@given(st.lists(st.one_of(DIFFERENCES, LATTICE), min_size=SMALLEST_SIGN_FLIP, max_size=9))
def test_the_sign_flip_test_is_scipys(differences: list[float]) -> None:
    """All sign patterns of a few pairs give the p of scipy's permutation test, of which this is one kind."""
    whole = [round(difference * 1e9) for difference in differences]  # no rounding, so no doubt about ties
    expected = stats.permutation_test(
        (whole,), np.sum, permutation_type="samples", n_resamples=np.inf, vectorized=False
    ).pvalue
    assert sign_flip([number / 1e9 for number in whole]) == pytest.approx(expected)


@given(st.lists(LATTICE, min_size=6, max_size=7))
def test_sums_that_are_equal_but_for_rounding_are_ties(differences: list[float]) -> None:
    """The p is that of whole numbers of images, counted pattern by pattern."""
    images = [round(300 * difference) for difference in differences]
    sums = [
        sum(s * i for s, i in zip(signs, images, strict=True))
        for signs in itertools.product((1, -1), repeat=len(images))
    ]
    assert sign_flip(differences) == sum(abs(s) >= abs(sum(images)) for s in sums) / len(sums)


def test_many_pairs_are_flipped_at_random() -> None:
    """Above so many pairs random patterns stand for all of them: near the exact p, never 0, the same each time."""
    rng = np.random.default_rng(1)
    differences = rng.normal(0.001, 0.002, EXACT_SIGN_FLIP + 1)
    signs = 1 - 2 * (np.arange(2 ** len(differences))[:, None] >> np.arange(len(differences)) & 1)
    exact = (np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12).mean()
    found = sign_flip(list(differences))
    assert found == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 20_000) ** 0.5 + 1e-4)
    assert sign_flip(list(differences)) == found
    assert sign_flip([0.01] * 30) == pytest.approx(1 / 20_001)


def test_too_few_pairs_have_no_sign_flip_test() -> None:
    """Below 6 pairs no pattern reaches 0.05, so there is no p; with 6 the smallest is 2 / 64."""
    assert sign_flip([0.01] * (SMALLEST_SIGN_FLIP - 1)) is None
    assert 2 / 2 ** (SMALLEST_SIGN_FLIP - 1) > 0.05 > 2 / 2**SMALLEST_SIGN_FLIP
    assert sign_flip([0.01] * SMALLEST_SIGN_FLIP) == 2 / 2**SMALLEST_SIGN_FLIP
    assert sign_flip([0.0] * SMALLEST_SIGN_FLIP) == 1


@given(st.integers(1, 999), st.integers(1, 999), st.integers(1, 499))
def test_z_is_that_of_two_independent_shares(first: int, second: int, third: int) -> None:
    """z is statsmodels' Wald statistic of two proportions, also for test splits of two sizes."""
    for counts, images in (((first, second), (1_000, 1_000)), ((first, third), (1_000, 500))):
        z = unpaired_z(counts[0] / images[0], counts[1] / images[1], *images)
        if counts[0] * images[1] == counts[1] * images[0]:
            assert z == 0
        else:
            theirs = two_proportions(counts[0], images[0], counts[1], images[1], method="wald", correction=False)
            assert z == pytest.approx(theirs.statistic)


def test_z_at_the_ends() -> None:
    """All right against all wrong is beyond every number; the same on both sides is 0."""
    assert unpaired_z(1.0, 0.0, 100) == math.inf
    assert unpaired_z(0.0, 1.0, 100) == -math.inf
    assert unpaired_z(1.0, 1.0, 100) == 0
