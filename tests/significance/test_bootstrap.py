"""Rules of the two-level bootstrap: the same each time, as wide as the noise asks for, around the mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from tracker.significance.bootstrap import RESAMPLES, ImageResamples, bootstrap_interval
from tracker.significance.crossed import noise_of_layout

IMAGES = 80
SHARED = ImageResamples(IMAGES)
LAYOUTS = st.integers(2, 5).flatmap(lambda n: arrays(np.int8, (n, IMAGES), elements=st.integers(-1, 1)))
FEW = settings(max_examples=30)


def random_layout(n: int, m: int, share: float = 0.1, seed: int = 3) -> np.ndarray:
    """A layout in which so many images are changed, half of them for the better."""
    rng = np.random.default_rng(seed)
    return rng.choice([-1, 0, 1], (n, m), p=[share / 2, 1 - share, share / 2]).astype(np.int8)


def test_resamples_are_draws_with_replacement() -> None:
    """Means over resamples are those of images drawn with replacement: the same centre, variance and support."""
    layout = random_layout(1, 200)
    means = ImageResamples(200).means(layout)
    assert means.shape == (RESAMPLES, 1)
    assert means.mean() == pytest.approx(layout.mean(), abs=4 * layout.std() / (200 * RESAMPLES) ** 0.5)
    assert means.var() == pytest.approx(layout.var() / 200, rel=0.15)
    assert np.allclose(means * 200, np.round(means * 200))
    assert (ImageResamples(50).means(np.ones((2, 50))) == 1).all()


def test_resamples_agree_with_drawing_one_by_one() -> None:
    """The matrix product gives what indexing the drawn images gives."""
    images = ImageResamples(40, resamples=3, seed=9)
    layout = random_layout(2, 40)
    drawn = np.random.default_rng([9, 40]).integers(0, 40, (3, 40))
    assert np.allclose(images.means(layout), [[row[picked].mean() for row in layout] for picked in drawn])


@FEW
@given(LAYOUTS)
def test_the_interval_is_the_same_each_time(layout: np.ndarray) -> None:
    """Two calls give the same digits, also with resamples drawn anew."""
    noise = noise_of_layout(layout)
    first = bootstrap_interval(layout, noise, SHARED)
    assert bootstrap_interval(layout, noise, SHARED) == first
    assert bootstrap_interval(layout, noise, ImageResamples(IMAGES)) == first


@FEW
@given(LAYOUTS, st.sampled_from([0.95, 0.975, 0.999]))
def test_the_interval_holds_the_mean_and_has_the_width_of_the_noise(layout: np.ndarray, level: float) -> None:
    """The bootstrap shares the width between the sides; the noise says how much there is."""
    noise = noise_of_layout(layout)
    low, high = bootstrap_interval(layout, noise, SHARED, level)
    assert low <= layout.mean() <= high
    assert high - low == pytest.approx(2 * noise.half_width(level))


@FEW
@given(LAYOUTS)
def test_the_other_way_round_the_interval_is_mirrored(layout: np.ndarray) -> None:
    """Baseline against setting has the interval of setting against baseline with the sign changed."""
    low, high = bootstrap_interval(layout, noise_of_layout(layout), SHARED)
    assert bootstrap_interval(-layout, noise_of_layout(-layout), SHARED) == pytest.approx((-high, -low), abs=1e-12)


def test_one_seed_is_about_its_two_networks() -> None:
    """With one seed the width is that of a t interval over the images."""
    layout = random_layout(1, 400)
    low, high = bootstrap_interval(layout, None, ImageResamples(400))
    images = stats.ttest_1samp(layout[0], 0).confidence_interval()
    assert high - low == pytest.approx(images.high - images.low)
    assert low < layout.mean() < high


@pytest.mark.parametrize("n", [1, 2, 5])
def test_networks_that_never_differ_still_have_an_interval(n: int) -> None:
    """Without a single difference on m images the interval is 0 give or take two images, not a point."""
    layout = np.zeros((n, IMAGES), dtype=np.int8)
    low, high = bootstrap_interval(layout, noise_of_layout(layout) if n > 1 else None, SHARED)
    assert low == -high
    assert high == pytest.approx(stats.t.ppf(0.975, IMAGES - 1) / IMAGES)


def test_one_setting_always_right() -> None:
    """Where the setting is right about all images and the baseline about none, the interval is short and below 1."""
    layout = np.ones((3, IMAGES), dtype=np.int8)
    low, high = bootstrap_interval(layout, noise_of_layout(layout), SHARED)
    assert 0.97 < low < 1 < high < 1.03


def test_a_skewed_difference_has_the_longer_arm_where_its_tail_is() -> None:
    """A gain that rests on few images could rather be larger than smaller: the upper arm is longer."""
    layout = np.zeros((3, IMAGES), dtype=np.int8)
    layout[:, :2] = 1
    low, high = bootstrap_interval(layout, noise_of_layout(layout), SHARED)
    assert high - layout.mean() > 1.2 * (layout.mean() - low)
