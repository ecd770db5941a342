"""Rules of the pooled effect: a random-effects model, as statsmodels fits it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from tracker.significance.pooled import pool

ROWS = st.lists(st.tuples(st.floats(-0.1, 0.1), st.floats(1e-8, 1e-3)), min_size=2, max_size=16)


@pytest.mark.parametrize("seed", range(20))
def test_mean_spread_and_interval_are_those_of_statsmodels(seed: int) -> None:
    """Paule and Mandel's variance, the mean, and Hartung and Knapp's interval agree where rows do differ."""
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(3, 17))
    effects, variances = rng.normal(0.001, 0.006, rows), rng.uniform(1e-7, 2e-5, rows)
    effects[0] += 0.02  # so that rows differ for certain
    theirs = combine_effects(effects, variances, method_re="iterated", use_t=True, maxiter=1_000)
    assert theirs.tau2 > 0
    ours = pool(list(effects), list(variances))
    assert ours is not None
    assert ours.rows == rows
    assert ours.between_rows**2 == pytest.approx(theirs.tau2, rel=1e-4)
    assert ours.mean == pytest.approx(theirs.mean_effect_re, rel=1e-4)
    assert ours.interval == pytest.approx(tuple(theirs.conf_int()[3]), rel=1e-4, abs=1e-8)


def test_rows_that_agree_have_the_interval_of_their_own_noise() -> None:
    """Where rows differ by less than their noise, it is the fixed-effect mean with a t interval, not a shorter one."""
    effects, variances = np.array([0.0010, 0.0011, 0.0012]), np.array([1e-5, 2e-5, 4e-5])
    theirs = combine_effects(effects, variances, method_re="iterated", use_t=True)
    ours = pool(list(effects), list(variances))
    assert ours is not None
    assert ours.between_rows == 0
    assert ours.mean == pytest.approx(theirs.mean_effect_fe)
    assert ours.interval == pytest.approx(tuple(theirs.conf_int()[0]))
    assert ours.interval[1] - ours.interval[0] > theirs.conf_int()[3][1] - theirs.conf_int()[3][0]


@given(ROWS)
def test_the_pooled_effect_lies_among_the_rows(rows: list[tuple[float, float]]) -> None:
    """The mean lies between the smallest and the largest effect, and the interval holds it."""
    effects, variances = zip(*rows, strict=True)
    found = pool(effects, variances)
    assert found is not None
    assert min(effects) - 1e-12 <= found.mean <= max(effects) + 1e-12
    assert found.interval[0] < found.mean < found.interval[1]
    assert found.between_rows >= 0


@given(ROWS)
def test_the_other_way_round_the_effect_is_mirrored(rows: list[tuple[float, float]]) -> None:
    """Baseline against setting has the effect with the sign changed."""
    effects, variances = zip(*rows, strict=True)
    found, mirrored = pool(effects, variances), pool([-effect for effect in effects], variances)
    assert found is not None and mirrored is not None
    assert mirrored.mean == pytest.approx(-found.mean, abs=1e-9)
    assert mirrored.between_rows == pytest.approx(found.between_rows, abs=1e-7)


def test_equal_variances_and_much_spread_give_the_plain_t_interval() -> None:
    """Rows of the same precision count the same: the plain mean, with Student's interval over rows."""
    effects = [0.01, -0.02, 0.03, 0.002, -0.005]
    found = pool(effects, [1e-7] * 5)
    assert found is not None
    assert found.mean == pytest.approx(np.mean(effects))
    assert found.interval == pytest.approx(tuple(stats.ttest_1samp(effects, 0).confidence_interval()), rel=1e-6)


def test_one_row_is_not_pooled() -> None:
    """There is nothing to pool in fewer than two rows."""
    assert pool([0.01], [1e-6]) is None
    assert pool([], []) is None
