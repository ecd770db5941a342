"""A sensor's gain, offset and inversion, and a black frame, done to an image set."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tracker.study.errors import DataError
from tracker.study.shifts import parse_shift
from tracker.vision.images import ImageSet, Split
from tracker.vision.normalizations import build_normalization
from tracker.vision.raw_shift import apply_shift, shifted_bytes
from tracker.vision.statistics import histogram, statistics_of


def image_set(channels: int = 1, size: int = 8) -> ImageSet:
    """Return 6 training and 4 test images of random bytes, seed 0."""
    drawn = np.random.default_rng(0).integers(0, 256, (10, channels, size, size), dtype=np.uint8)
    train, test = Split(drawn[:6], np.arange(6) % 2), Split(drawn[6:], np.arange(4) % 2)
    return ImageSet("noise", train, test, ("a", "b"), statistics_of(histogram(train.images)), "0" * 16)


def shifted_by(images: np.ndarray, shift: str) -> np.ndarray:
    """Return the bytes under a shift given in words."""
    return shifted_bytes(images, parse_shift(shift), "noise")


def test_as_is_is_the_very_set() -> None:
    """Nothing is copied where nothing is done."""
    images = image_set()
    assert apply_shift(images, "as-is") is images


def test_steps_by_hand() -> None:
    """Each step on known bytes; what leaves the range is clipped, halves go to the even byte."""
    row = np.array([[[[0, 1, 100, 255]]]], dtype=np.uint8)
    assert shifted_by(row, "gain=0.5").ravel().tolist() == [0, 0, 50, 128]
    assert shifted_by(row, "gain=2").ravel().tolist() == [0, 2, 200, 255]
    assert shifted_by(row, "offset=0.2").ravel().tolist() == [51, 52, 151, 255]
    assert shifted_by(row, "offset=-0.2").ravel().tolist() == [0, 0, 49, 204]
    assert shifted_by(row, "invert").ravel().tolist() == [255, 254, 155, 0]
    assert shifted_by(row, "gain=0.5+offset=0.5").ravel().tolist() == [128, 128, 178, 255]
    # A sensor is analogue until it counts: twice half is as it was.
    assert shifted_by(row, "gain=2+gain=0.5").ravel().tolist() == [0, 1, 100, 255]


def test_each_channel_has_its_own_gain() -> None:
    """White balance: three numbers, one a channel."""
    images = np.full((1, 3, 2, 2), 200, dtype=np.uint8)
    assert shifted_by(images, "gain=1:0.5:0.25")[0, :, 0, 0].tolist() == [200, 100, 50]


def test_a_frame_is_black_before_the_steps_after_it_and_covers_those_before() -> None:
    """Inside, the pixels are as without it; outside they are what black has become."""
    images = image_set(size=8).train.images
    framed = shifted_by(images, "frame=2")
    assert np.array_equal(framed[:, :, 2:-2, 2:-2], images[:, :, 2:-2, 2:-2])
    assert framed.sum() == framed[:, :, 2:-2, 2:-2].sum()
    assert set(np.unique(shifted_by(images, "frame=2+invert")[:, :, 0])) == {255}
    assert set(np.unique(shifted_by(images, "invert+frame=2")[:, :, 0])) == {0}


def test_the_set_that_comes_out_is_whole() -> None:
    """Both splits are shifted, labels kept, statistics exact, the fingerprint another and told by the shift."""
    images = image_set(channels=3)
    found = apply_shift(images, "gain=0.3")
    assert np.array_equal(found.train.images, shifted_by(images.train.images, "gain=0.3"))
    assert np.array_equal(found.test.images, shifted_by(images.test.images, "gain=0.3"))
    assert found.train.labels is images.train.labels
    assert found.statistics == statistics_of(histogram(found.train.images))
    prints = {images.fingerprint, found.fingerprint, apply_shift(images, "invert").fingerprint}
    assert len(prints) == 3
    assert apply_shift(images, "gain=0.3").fingerprint == found.fingerprint


def test_what_does_not_fit_the_images_is_refused() -> None:
    """Three gains for one channel, and a frame that covers all, are errors that say so."""
    with pytest.raises(DataError, match="1 channel, its shift's gain 3"):
        apply_shift(image_set(channels=1), "gain=1:0.5:0.2")
    with pytest.raises(DataError, match="frame of 4 pixels leaves nothing"):
        apply_shift(image_set(size=8), "frame=4")


@given(gain=st.floats(0.5, 1), offset=st.floats(0, 0.3))
def test_finetune_undoes_a_gain_and_an_offset(gain: float, offset: float) -> None:
    """Under its own statistics a dataset looks the same through either sensor, up to the rounding to bytes."""
    source = np.random.default_rng(1).integers(0, 150, (8, 1, 8, 8), dtype=np.uint8)
    images = ImageSet("n", Split(source, np.zeros(8, np.int64)), Split(source, np.zeros(8, np.int64)), ("a", "b"),
                      statistics_of(histogram(source)), "0")  # fmt: skip
    other = apply_shift(images, f"gain={gain}+offset={offset}")
    seen = [
        build_normalization("finetune", target=each.statistics, source=None)(torch.from_numpy(each.train.images))
        for each in (images, other)
    ]
    # A byte is rounded by up to a half of 1/255, in units of a deviation of about 0.17 x gain.
    assert (seen[0] - seen[1]).abs().max() < 0.03 / gain
