"""What stands in for images and weights where only their shape counts: in measurements and self-checks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracker.study.recipe import Recipe
from tracker.study.seeds import derive_seed
from tracker.vision.images import ImageSet, Split, Statistics
from tracker.vision.sources import Source


@dataclass(frozen=True)
class Shape:
    """What of a dataset decides the time it takes.

    Args:
        train, test: images.
        size: pixels of a side.
    """

    train: int
    test: int
    size: int
    classes: int
    channels: int = 3


def random_images(shape: Shape, seed: int, name: str = "random", statistics: Statistics | None = None) -> ImageSet:
    """Return images of random bytes: their values decide nothing about time."""
    rng = np.random.default_rng(derive_seed(seed, "bench"))

    def split(images: int) -> Split:
        pixels = rng.integers(0, 256, (images, shape.channels, shape.size, shape.size), dtype=np.uint8)
        return Split(pixels, rng.integers(0, shape.classes, images, dtype=np.int64))

    names = tuple(map(str, range(shape.classes)))
    even = Statistics((0.5,) * shape.channels, (0.29,) * shape.channels)
    return ImageSet(name, split(shape.train), split(shape.test), names, statistics or even, "0" * 16)


def stand_in(recipe: Recipe, images: ImageSet) -> Source:
    """Return random weights where the recipe's source is: with statistics, and with the channels of its network."""
    channels = 3 if recipe.source == "torchvision" else images.channels
    return Source("random", recipe.model, channels, Statistics((0.5,) * channels, (0.25,) * channels), None, "random")
