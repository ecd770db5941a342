"""Statistics are exact, whatever the order and the parts they were counted in."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from tracker.study.errors import DataError
from tracker.vision import statistics
from tracker.vision.images import Statistics
from tracker.vision.statistics import PUBLISHED, histogram, published_statistics, shifted, statistics_of

batches = nps.arrays(
    np.uint8, st.tuples(st.integers(1, 5), st.sampled_from([1, 3]), st.integers(1, 6), st.integers(1, 6))
)


@given(batches)
def test_histogram_statistics_are_numpys(images: np.ndarray) -> None:
    """Mean and population standard deviation are those of the pixels in [0, 1]."""
    found = statistics_of(histogram(images))
    pixels = images.astype(np.float64) / 255
    np.testing.assert_allclose(found.mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(found.std, pixels.std(axis=(0, 2, 3)), rtol=1e-7, atol=1e-8)


@given(batches, st.randoms(use_true_random=False))
def test_histograms_merge_in_any_order(images: np.ndarray, random: object) -> None:
    """The parts' histograms add up to the whole's, shuffled or not."""
    order = list(range(len(images)))
    random.shuffle(order)  # type: ignore[attr-defined]
    merged = sum(histogram(images[i : i + 1]) for i in order)
    assert np.array_equal(merged, histogram(images))


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting a chunk at a time counts every pixel once, also of a strided view."""
    images = np.random.default_rng(0).integers(0, 256, (11, 5, 7, 3), dtype=np.uint8).transpose(0, 3, 1, 2)
    whole = histogram(images)
    monkeypatch.setattr(statistics, "CHUNK_PIXELS", 100)
    assert np.array_equal(histogram(images), whole)
    assert whole.sum(axis=1).tolist() == [11 * 35] * 3


def test_large_counts_neither_overflow_nor_round() -> None:
    """A set of 10**15 pixels, half black and half white, has exactly mean and deviation 1/2."""
    counts = np.zeros((1, 256), dtype=np.int64)
    counts[0, [0, 255]] = 5 * 10**14
    assert statistics_of(counts) == Statistics((0.5,), (0.5,))


def test_one_odd_pixel_in_a_billion_shows() -> None:
    """A nearly constant channel keeps its tiny deviation, which floating sums would lose."""
    counts = np.zeros((1, 256), dtype=np.int64)
    counts[0, 254], counts[0, 255] = 1, 10**9 - 1
    assert statistics_of(counts).std[0] == pytest.approx(math.sqrt(1e-9 * (1 - 1e-9)) / 255, rel=1e-14)


@pytest.mark.parametrize("images", [np.zeros((1, 1, 2, 2), np.float32), np.zeros((1, 2, 2), np.uint8)])
def test_other_arrays_are_refused(images: np.ndarray) -> None:
    """Only uint8 (N, C, H, W) is counted."""
    with pytest.raises(ValueError, match="not uint8"):
        histogram(images)


def test_no_pixels_no_statistics() -> None:
    """An empty channel is an error, not a division by zero."""
    with pytest.raises(ValueError, match="without pixels"):
        statistics_of(np.zeros((1, 256), dtype=np.int64))


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("cifar10", (0.03, 0.12, 0.18), (1.08, 1.09, 1.16)),
        ("cifar100", (0.10, 0.14, 0.15), (1.17, 1.15, 1.23)),
        ("svhn", (-0.21, -0.05, 0.30), (0.86, 0.90, 0.88)),
        ("tiny-imagenet-200", (-0.02, -0.04, -0.04), (1.21, 1.20, 1.25)),
    ],
)
def test_table_1(name: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Under ImageNet's z-score the four datasets' statistics are the reference study's, Tiny ImageNet's in RGB."""
    found = shifted(published_statistics(name), published_statistics("imagenet"))
    assert tuple(round(value, 2) for value in found.mean) == mean
    assert tuple(round(value, 2) for value in found.std) == std


@given(st.sampled_from(sorted(PUBLISHED)))
def test_a_source_becomes_standard(name: str) -> None:
    """A dataset under its own z-score has mean 0 and deviation 1."""
    own = PUBLISHED[name]
    assert shifted(own, own) == Statistics((0.0,) * 3, (1.0,) * 3)


def test_one_channel_stands_for_three() -> None:
    """A gray target under an RGB source, and the other way round, has three channels."""
    gray, rgb = Statistics((0.5,), (0.25,)), Statistics((0.5, 0.25, 0.0), (0.5, 0.25, 1.0))
    assert shifted(gray, rgb) == Statistics((0.0, 1.0, 0.5), (0.5, 1.0, 0.25))
    assert shifted(rgb, gray) == Statistics((0.0, -1.0, -2.0), (2.0, 1.0, 4.0))


def test_other_channels_do_not_fit() -> None:
    """Two channels go with neither three nor a constant source."""
    two, three = Statistics((0.5,) * 2, (0.1,) * 2), Statistics((0.5,) * 3, (0.1,) * 3)
    with pytest.raises(ValueError, match="do not go with"):
        shifted(two, three)
    with pytest.raises(ValueError, match="deviation is 0"):
        shifted(three, Statistics((0.5,), (0.0,)))


def test_unpublished_statistics_are_an_error_with_a_cure() -> None:
    """A dataset without published statistics names those that have some, and the way out."""
    with pytest.raises(DataError, match="'digits' has no published") as caught:
        published_statistics("digits")
    assert "statistics: exact" in str(caught.value)
