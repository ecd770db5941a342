"""What is trained while it is measured: a model on images of a dataset's shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracker.study.recipe import Recipe
from tracker.study.seeds import derive_seed
from tracker.vision.images import ImageSet, Split, Statistics
from tracker.vision.statistics import PUBLISHED


@dataclass(frozen=True)
class Shape:
    """What of a dataset decides the time it takes.

    Args:
        train, test: images.
        size: pixels of a side, three channels.
    """

    train: int
    test: int
    size: int
    classes: int


SHAPES = {
    "cifar10": Shape(50_000, 10_000, 32, 10),
    "cifar100": Shape(50_000, 10_000, 32, 100),
    "svhn": Shape(73_257, 26_032, 32, 10),
    "tiny-imagenet-200": Shape(100_000, 10_000, 64, 200),
}
"""The reference study's datasets, whose images need not be here to be measured."""

EVALUATED = 5
"""Training images for each test image of a measured epoch, as CIFAR-10 has them."""


def make_images(dataset: str, count: int, seed: int) -> ImageSet:
    """Return images of a dataset's shape, of random bytes: their values decide nothing about time.

    Args:
        count: training images; test images are a fifth of them.
    """
    shape = SHAPES[dataset]
    rng = np.random.default_rng(derive_seed(seed, "bench"))

    def split(images: int) -> Split:
        pixels = rng.integers(0, 256, (images, 3, shape.size, shape.size), dtype=np.uint8)
        return Split(pixels, rng.integers(0, shape.classes, images, dtype=np.int64))

    statistics: Statistics = PUBLISHED[dataset]
    names = tuple(map(str, range(shape.classes)))
    return ImageSet(dataset, split(count), split(max(1, count // EVALUATED)), names, statistics, "0" * 16)


def make_recipe(model: str, dataset: str, batch_size: int, epochs: int) -> Recipe:
    """Return the reference protocol's recipe, from random weights: their values decide nothing about time either."""
    return Recipe(
        model=model, dataset=dataset, normalization="finetune", source="random", statistics="published",
        batch_size=batch_size, epochs=epochs,
    )  # fmt: skip
