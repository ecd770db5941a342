"""Rules of ranks: Friedman's test as in scipy, Nemenyi's as in scikit-posthocs and in Demsar's table."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scikit_posthocs import posthoc_nemenyi_friedman
from scipy import stats

from tracker.significance.ranks import compare_ranks, critical_difference, ranks_of

NAMES = "abcdefghij"
DEMSAR = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}
"""Table 5 (a) of his paper: critical values of the two-tailed Nemenyi test at 0.05, by the number of classifiers."""
SCORES = st.integers(0, 20).map(lambda score: score / 20)


def table(rng: np.random.Generator, datasets: int, settings: int, effect: float = 0.0) -> np.ndarray:
    """Scores (datasets, settings), the later settings better by `effect` each."""
    return rng.normal(0, 1, (datasets, settings)) + effect * np.arange(settings)


def by_setting(scores: np.ndarray) -> dict[str, list[float]]:
    """Name the columns."""
    return {name: list(column) for name, column in zip(NAMES, scores.T, strict=False)}


@pytest.mark.parametrize(("settings", "quantile"), DEMSAR.items())
def test_critical_differences_are_those_of_demsars_table(settings: int, quantile: float) -> None:
    """The critical difference has the published quantile, for 4 and for 30 datasets."""
    for datasets in (4, 30):
        expected = quantile * (settings * (settings + 1) / (6 * datasets)) ** 0.5
        assert critical_difference(settings, datasets) == pytest.approx(expected, rel=4e-4)


@pytest.mark.parametrize("effect", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_friedman_and_nemenyi_are_those_of_scipy_and_scikit_posthocs(seed: int, effect: float) -> None:
    """Friedman's p is scipy's; two settings share a clique exactly if scikit-posthocs cannot tell them apart."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(3, 7))
    scores = table(rng, int(rng.integers(8, 40)), k, effect)
    found = compare_ranks(by_setting(scores))
    assert found is not None
    assert found.friedman_p == pytest.approx(stats.friedmanchisquare(*scores.T).pvalue)
    p_values = posthoc_nemenyi_friedman(scores).to_numpy()
    for one, other in itertools.combinations(range(k), 2):
        together = any({NAMES[one], NAMES[other]} <= set(clique) for clique in found.cliques)
        assert together == (p_values[one, other] > 0.05)


@given(st.integers(2, 6).flatmap(lambda k: st.lists(st.lists(SCORES, min_size=k, max_size=k), min_size=1, max_size=8)))
def test_mean_ranks_add_up_whatever_the_ties(scores: list[list[float]]) -> None:
    """Mean ranks sum to k (k + 1) / 2, lie in 1 .. k, and are the means of scipy's ranks."""
    array = np.array(scores)
    k = array.shape[1]
    found = compare_ranks(by_setting(array))
    assert found is not None
    means = list(found.mean_ranks.values())
    assert sum(means) == pytest.approx(k * (k + 1) / 2)
    assert all(1 <= mean <= k for mean in means)
    assert means == pytest.approx(list(stats.rankdata(-array, axis=1).mean(axis=0)))


@settings(max_examples=50)
@given(st.lists(st.lists(SCORES, min_size=4, max_size=4), min_size=2, max_size=20))
def test_cliques_are_the_largest_groups_within_the_critical_difference(scores: list[list[float]]) -> None:
    """Members of a clique are less apart than the critical difference, and no clique holds another."""
    found = compare_ranks(by_setting(np.array(scores)))
    assert found is not None
    for clique in found.cliques:
        ranks = [found.mean_ranks[setting] for setting in clique]
        assert max(ranks) - min(ranks) < found.critical_difference
        assert not any(set(clique) < set(other) for other in found.cliques)
    close = [
        {one, other}
        for one, other in itertools.combinations(found.mean_ranks, 2)
        if abs(found.mean_ranks[one] - found.mean_ranks[other]) < found.critical_difference
    ]
    assert all(any(pair <= set(clique) for clique in found.cliques) for pair in close)


@pytest.mark.parametrize("k", range(2, 11))
def test_the_number_of_datasets_needed_is_the_first_that_is_enough(k: int) -> None:
    """With so many datasets the critical difference is half of what ranks can differ by, with one less it is not."""
    found = compare_ranks({name: [0.5, 0.6] for name in NAMES[:k]})
    assert found is not None
    assert critical_difference(k, found.datasets_needed) <= (k - 1) / 2
    assert critical_difference(k, found.datasets_needed - 1) > (k - 1) / 2


def test_four_datasets_say_nothing_about_four_settings() -> None:
    """The reference study's 4 settings need 10 datasets; its 4 have no power, even if all agree on the order."""
    found = compare_ranks({name: [level] * 4 for name, level in zip(NAMES[:4], (0.9, 0.8, 0.7, 0.6), strict=True)})
    assert found is not None
    assert found.datasets_needed == 10
    assert not found.has_power
    assert found.cliques == (("a", "b", "c"), ("b", "c", "d"))


def test_settings_that_are_all_alike() -> None:
    """All scores tied: every rank is the middle one, Friedman's p is 1, one clique."""
    found = compare_ranks({name: [0.5, 0.7, 0.9] for name in "abc"})
    assert found is not None
    assert set(found.mean_ranks.values()) == {2.0}
    assert found.friedman_p == 1
    assert found.cliques == (("a", "b", "c"),)


def test_what_cannot_be_ranked() -> None:
    """One setting, or no dataset, is no comparison; two settings or one dataset have no Friedman test."""
    assert compare_ranks({"a": [0.5]}) is None
    assert compare_ranks({"a": [], "b": []}) is None
    two, one = compare_ranks({"a": [0.1, 0.2], "b": [0.2, 0.3]}), compare_ranks({"a": [0.1], "b": [0.2], "c": [0.3]})
    assert two is not None and two.friedman_p is None
    assert one is not None and one.friedman_p is None


def test_sums_in_another_order_are_ties() -> None:
    """Scores that differ by rounding alone share a rank."""
    assert list(ranks_of([0.1 + 0.2, 0.3, 0.2])) == [1.5, 1.5, 3]
