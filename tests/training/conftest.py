"""A tiny image set that trains in a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.small_trial import IDENTITY
from tracker.study.recipe import Recipe
from tracker.training.store import StateStore
from tracker.vision.images import ImageSet, Split, Statistics


def stripes(count: int, seed: int, size: int = 16, channels: int = 1) -> Split:
    """Return images whose class (0, 1, 2) is the direction of their stripes, with noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    y, x = np.mgrid[0:size, 0:size]
    waves = np.stack([x % 4 < 2, y % 4 < 2, (x + y) % 4 < 2])[labels]
    images = (waves * 120 + rng.integers(0, 100, waves.shape)).astype(np.uint8)
    return Split(np.repeat(images[:, None], channels, axis=1), labels.astype(np.int64))


@pytest.fixture
def image_set() -> ImageSet:
    """90 training and 45 test images, 16 x 16, one channel, three classes."""
    train, test = stripes(90, seed=0), stripes(45, seed=1)
    unit = train.images / 255
    statistics = Statistics((float(unit.mean()),), (float(unit.std()),))
    return ImageSet("stripes", train, test, ("down", "across", "aslant"), statistics, "0" * 16)


@pytest.fixture
def recipe() -> Recipe:
    """Two short epochs of resnet18 from random weights."""
    return Recipe(
        model="resnet18",
        dataset="stripes",
        normalization="finetune",
        seed=1,
        source="random",
        epochs=2,
        batch_size=32,
        crop_padding=2,
        val_fraction=0.2,
    )


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute in one thread: several wait for each other where tests share the cores, and images are tiny."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Let cuDNN take the kernels that give the same bits each time: of few images training makes much of a rounding."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    yield
    torch.backends.cudnn.deterministic = before


@pytest.fixture
def store(tmp_path: Path) -> StateStore:
    """An empty store in `tmp_path / "trial"`."""
    return StateStore(tmp_path / "trial", IDENTITY)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The store's folder."""
    return tmp_path / "trial"
