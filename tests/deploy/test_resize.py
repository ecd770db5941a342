"""The resize inside an export gives the bytes that the readers give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.deploy.resize import CentreResize
from tracker.vision.readers.pixels import fit_array


def noise(height: int, width: int, channels: int, *, extreme: bool = False) -> np.ndarray:
    """uint8, (C, H, W); with `extreme` 0 and 255 alone, which rounding and clipping meet hardest."""
    random = np.random.default_rng([height, width, channels])
    shape = (channels, height, width)
    return random.integers(0, 2, shape).astype(np.uint8) * 255 if extreme else random.integers(0, 256, shape, np.uint8)


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """One image through the module."""
    return CentreResize(size)(torch.from_numpy(image)[None])[0].numpy()


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 96), st.sampled_from([1, 3]), st.booleans())
@settings(max_examples=40)
def test_every_byte_is_pillows(height: int, width: int, size: int, channels: int, extreme: bool) -> None:
    """Larger, smaller, wide, tall, one pixel: all bytes are equal to those of the reader, which asks Pillow."""
    image = noise(height, width, channels, extreme=extreme)
    np.testing.assert_array_equal(resized(image, size), fit_array(image, channels, size))


@pytest.mark.parametrize(("height", "width", "size"), [(1200, 1601, 224), (8, 8, 299), (480, 640, 32), (1, 700, 64)])
def test_photographs_too(height: int, width: int, size: int) -> None:
    """The same for sizes as cameras have them, and far apart ones."""
    image = noise(height, width, 3)
    np.testing.assert_array_equal(resized(image, size), fit_array(image, 3, size))


@pytest.mark.parametrize("size", [1, 8, 31, 32, 64])
def test_the_size_itself_is_left_alone(size: int) -> None:
    """An image of the size is given back bit for bit."""
    image = noise(size, size, 3)
    np.testing.assert_array_equal(resized(image, size), image)


def test_images_do_not_meet() -> None:
    """A batch gives what its images give alone."""
    images = np.stack([noise(50, 71, 1), noise(50, 71, 1)[:, ::-1]])
    together = CentreResize(20)(torch.from_numpy(images.copy())).numpy()
    for image, found in zip(images, together, strict=True):
        np.testing.assert_array_equal(resized(image.copy(), 20), found)
