"""Rules of the noise: its components are those of an analysis of variance, its intervals are Student's."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from tracker.significance.crossed import EQUAL, Noise, noise_of_layout, noise_of_seeds

VARIANCES = st.floats(1e-9, 1e-2)
COUNTS = st.integers(2, 40)
LEVELS = st.sampled_from([0.9, 0.95, 0.975, 0.999])


@st.composite
def layouts(draw: st.DrawFn, most_seeds: int = 6, most_images: int = 60) -> np.ndarray:
    """Layouts of 1, 0 and -1, at least 2 x 2."""
    shape = draw(st.integers(2, most_seeds)), draw(st.integers(2, most_images))
    return draw(arrays(np.int8, shape, elements=st.integers(-1, 1)))


@st.composite
def noises(draw: st.DrawFn) -> Noise:
    """Noise of seeds alone, or of seeds and images."""
    images = draw(st.sampled_from([0, 300, 10_000]))
    return Noise(draw(COUNTS), images, draw(VARIANCES), draw(VARIANCES) if images else 0.0)


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(3, 12))
def test_components_are_those_of_an_analysis_of_variance(seed: int, n: int, m: int) -> None:
    """Mean squares are statsmodels' of a two-way layout; components follow by the method of moments."""
    rng = np.random.default_rng(seed)
    layout = rng.normal(0, 0.3, (n, 1)) + rng.normal(0, 0.5, m) + rng.normal(0, 0.4, (n, m))
    long = pd.DataFrame(
        {"y": layout.ravel(), "seed": np.repeat(np.arange(n), m).astype(str), "image": list(map(str, range(m))) * n}
    )
    table = anova_lm(ols("y ~ C(seed) + C(image)", long).fit())
    of_seeds, of_images, rest = (table["sum_sq"] / table["df"]).to_numpy()
    noise = noise_of_layout(layout)
    assert (noise.seeds, noise.images) == (n, m)
    assert noise.between_seeds == pytest.approx(max(of_seeds, rest) / m)
    assert noise.from_images == pytest.approx(max(of_images - rest, 0.0) / (n * m), abs=1e-12)


def test_variance_is_that_of_the_mean() -> None:
    """Over many layouts of known components, the estimated variance is on average that of the mean, and no less."""
    rng = np.random.default_rng(5)
    n, m, cases = 4, 30, 4_000
    parts = {"seeds": 0.04, "images": 0.5, "rest": 0.3}
    layouts = (
        rng.normal(0, parts["seeds"] ** 0.5, (cases, n, 1))
        + rng.normal(0, parts["images"] ** 0.5, (cases, 1, m))
        + rng.normal(0, parts["rest"] ** 0.5, (cases, n, m))
    )
    true = (parts["seeds"] + parts["rest"] / m) / n + parts["images"] / m
    assert layouts.mean(axis=(1, 2)).var() == pytest.approx(true, rel=0.05)
    assert np.mean([noise_of_layout(layout).variance() for layout in layouts]) == pytest.approx(true, rel=0.05)


@given(layouts())
def test_no_mean_is_known_better_than_to_one_image(layout: np.ndarray) -> None:
    """The standard deviation is at least 1 / m, be all differences 0, now and with any further seeds."""
    noise, m = noise_of_layout(layout), layout.shape[1]
    assert noise.variance() ** 0.5 >= (1 - 1e-12) / m
    assert noise.variance(1_000) ** 0.5 >= (1 - 1e-12) / m
    assert noise.half_width(0.95) >= 1.96 / m


@given(layouts())
def test_sign_and_order_do_not_matter_to_the_noise(layout: np.ndarray) -> None:
    """Setting against baseline has the noise of baseline against setting, in any order of seeds and images."""
    noise = noise_of_layout(layout)
    for other in (-layout, layout[::-1], layout[:, ::-1]):
        same = noise_of_layout(other)
        assert same.between_seeds == pytest.approx(noise.between_seeds)
        assert same.from_images == pytest.approx(noise.from_images, abs=1e-15)


@given(st.lists(st.floats(-0.1, 0.1), min_size=2, max_size=12).filter(lambda x: np.ptp(x) > 2 * EQUAL), LEVELS)
def test_seeds_alone_give_students_interval_and_p(differences: list[float], level: float) -> None:
    """Without predictions, interval and p are those of scipy's paired t test."""
    noise = noise_of_seeds(differences)
    paired = stats.ttest_rel(differences, np.zeros(len(differences)))
    interval = paired.confidence_interval(level)
    mean = float(np.mean(differences))
    assert (mean - noise.half_width(level), mean + noise.half_width(level)) == pytest.approx(tuple(interval), rel=1e-9)
    assert noise.p_value(mean) == pytest.approx(paired.pvalue, rel=1e-6)


@given(noises(), LEVELS)
def test_width_lies_between_that_of_either_freedom(noise: Noise, level: float) -> None:
    """The quantile is Student's of seeds - 1 degrees of freedom at most, and normal at least."""
    sd = noise.variance() ** 0.5
    narrow, wide = stats.norm.ppf((1 + level) / 2) * sd, stats.t.ppf((1 + level) / 2, noise.seeds - 1) * sd
    if noise.images:
        wide = max(wide, stats.t.ppf((1 + level) / 2, noise.images - 1) * sd)
    assert narrow * (1 - 1e-9) <= noise.half_width(level) <= wide * (1 + 1e-9)


@pytest.mark.parametrize(
    ("noise", "freedom"),
    [(Noise(4, 300, 1e-4, 1e-18), 3), (Noise(4, 300, 1e-18, 1e-4), 299)],
    ids=["seeds", "images"],
)
def test_where_one_part_is_all_the_width_is_students(noise: Noise, freedom: int) -> None:
    """If all noise is of the seeds, or of the images, the quantile is that of their own degrees of freedom."""
    assert noise.half_width(0.95) == pytest.approx(stats.t.ppf(0.975, freedom) * noise.variance() ** 0.5, rel=1e-6)


@given(noises(), LEVELS)
def test_p_is_where_the_interval_ends_at_zero(noise: Noise, level: float) -> None:
    """A mean of just half the width of the 95 % interval has p = 0.05, whatever its sign."""
    for mean in (noise.half_width(level), -noise.half_width(level)):
        assert noise.p_value(mean) == pytest.approx(1 - level, rel=1e-6)


@given(noises(), st.floats(0, 0.2), st.floats(0, 0.2))
def test_p_falls_with_the_difference(noise: Noise, one: float, other: float) -> None:
    """The larger difference has the smaller p, and no difference has p = 1."""
    assert 0 <= noise.p_value(max(one, other)) <= noise.p_value(min(one, other)) <= 1
    assert noise.p_value(0.0) == 1


def test_far_out_p_is_zero() -> None:
    """A difference beyond all numbers of the t distribution has p = 0, and no error."""
    assert Noise(10, 10_000, 1e-12, 1e-8).p_value(0.5) == 0


@given(noises(), LEVELS)
def test_widths_fall_with_seeds(noise: Noise, level: float) -> None:
    """Every further seed makes the interval narrower, and the images' share is the limit."""
    widths = [noise.half_width(level, seeds) for seeds in range(2, 60)]
    assert all(later < earlier * (1 + 1e-12) for earlier, later in itertools.pairwise(widths))
    assert noise.variance(10**9) == pytest.approx(
        max(noise.from_images, 1 / (noise.images or math.inf) ** 2), abs=2e-11
    )


@pytest.mark.parametrize("differences", [[0.0, 0.0], [0.9 - 0.8, 0.8 - 0.7, 0.5 - 0.4]], ids=["none", "rounding"])
def test_seeds_that_agree_prove_nothing(differences: list[float]) -> None:
    """Differences that are equal, but for rounding, have no noise to judge by: no p, no finite interval."""
    noise = noise_of_seeds(differences)
    assert noise.variance() == 0
    assert noise.p_value(float(np.mean(differences))) == 1
    assert noise.half_width(0.95) == math.inf
