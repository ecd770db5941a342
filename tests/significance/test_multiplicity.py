"""Rules of many tests at once: Holm's adjustment, and the level of each look at growing data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from tracker.significance.multiplicity import holm, level_at_look

P_VALUES = st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.05, 1.0])), min_size=1, max_size=50)


@settings(max_examples=5)  # each call of theirs collects garbage, for 0.2 s
@given(P_VALUES)
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    """Adjusted p-values are statsmodels'."""
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


@given(P_VALUES)
def test_holm_keeps_the_order_and_never_lowers_a_p(p_values: list[float]) -> None:
    """Adjusted p-values are no smaller, no larger than Bonferroni's, at most 1, and in the same order."""
    adjusted = holm(p_values)
    for p, after in zip(p_values, adjusted, strict=True):
        assert p <= after <= min(1.0, len(p_values) * p) or after == p
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


@given(P_VALUES, st.randoms())
def test_holm_does_not_depend_on_the_order_of_the_tests(p_values: list[float], random: object) -> None:
    """Each p-value gets the same adjustment wherever it stands in the table."""
    order = list(range(len(p_values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = holm([p_values[number] for number in order])
    assert shuffled == [holm(p_values)[number] for number in order]


def test_holm_of_one_test_and_of_none() -> None:
    """A single p-value stays what it is; no test gives nothing."""
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


@given(st.integers(1, 2_000))
def test_levels_of_all_looks_add_up_to_alpha(looks: int) -> None:
    """However often one looks, alpha is not spent; after k looks what is left is alpha / (k + 1)."""
    levels = [level_at_look(look) for look in range(1, looks + 1)]
    assert sum(levels) == pytest.approx(0.05 * (1 - 1 / (looks + 1)))
    assert levels == sorted(levels, reverse=True)


def test_a_study_that_does_not_grow_has_all_of_alpha() -> None:
    """Look 0 is the only one, so its level is alpha."""
    assert level_at_look(0) == 0.05
    assert level_at_look(0, alpha=0.01) == 0.01
