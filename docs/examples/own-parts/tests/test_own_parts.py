"""The parts by themselves: `pytest docs/examples/own-parts`, once the package is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tracker.study.errors import DataError
from tracker.study.recipe import DatasetSpec
from tracker.vision.images import Statistics
from tracker.vision.progress import silent

from own_parts.draw import shapes
from own_parts.median_iqr import build
from own_parts.npz import Npz
from own_parts.small_net import SmallNet


def test_white_pixels_move_the_median_hardly() -> None:
    """Two percent of white pixels move the others by less than a tenth of the interquartile range; a flat image is 0."""
    image = torch.randint(60, 120, (1, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    lamps = image.clone()
    lamps.view(-1)[:20] = 255
    module = build(Statistics((0.5,), (0.2,)), None)
    moved = (module(lamps) - module(image)).view(-1)[20:].abs().max()
    assert moved < 0.1
    assert torch.equal(module(torch.full((2, 3, 8, 8), 7, dtype=torch.uint8)), torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_network_takes_gray_and_colour(channels: int) -> None:
    """It is built with either number of channels and gives as many logits as its head has."""
    assert SmallNet(channels=channels).eval()(torch.zeros(2, channels, 8, 8)).shape == (2, 10)


def test_a_file_is_read_and_split(tmp_path: Path) -> None:
    """A quarter of every class is held out, and images have the size that is asked for."""
    np.savez(tmp_path / "shapes.npz", **shapes(8))
    spec = DatasetSpec(kind="npz", path=str(tmp_path / "shapes.npz"), test_fraction=0.25, image_size=24)
    found = Npz().read("shapes", spec, tmp_path, silent)
    assert found.classes == ("disc", "square", "cross")
    assert np.bincount(found.test.labels).tolist() == [2, 2, 2] and len(found.train) == 18
    assert next(iter(found.train.blocks())).shape == (18, 1, 24, 24)


def test_a_file_of_something_else_is_told(tmp_path: Path) -> None:
    """The error says what the file holds and what it needs."""
    np.savez(tmp_path / "other.npz", pixels=np.zeros(3))
    with pytest.raises(DataError, match=r"holds pixels(.|\n)*it needs images and labels"):
        Npz().read("other", DatasetSpec(kind="npz", path=str(tmp_path / "other.npz")), tmp_path, silent)
