"""Two experiments of a moment that save a sweep from doing nothing, or failing, an hour later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from tracker.study.errors import DataError, PreflightError, SourceError, TrackerError
from tracker.study.recipe import Recipe
from tracker.training.splits import split_sizes
from tracker.training.trial import target_statistics
from tracker.vision.images import ImageSet, Statistics
from tracker.vision.models import Classifier, build_network
from tracker.vision.normalizations import MinMax, build_normalization

PROBE_IMAGES = 8


@dataclass(frozen=True)
class StartingPoint:
    """What is known of a source before it is loaded, or even trained.

    Args:
        channels: C the network takes.
        statistics: what the source was normalized with; None for random weights.
    """

    channels: int
    statistics: Statistics | None


def probe_images(images: ImageSet, channels: int) -> Tensor:
    """Return the first training images, a single channel repeated; uint8, (n, `channels`, H, W), a copy."""
    return torch.from_numpy(images.train.images[:PROBE_IMAGES].copy()).expand(-1, channels, -1, -1)


def probe_normalizations(names: Sequence[str], recipe: Recipe, images: ImageSet, start: StartingPoint) -> None:
    """Apply every normalization to one fixed batch; two that agree mean that one silently does nothing.

    Raises:
        PreflightError: a normalization cannot be built, gives a value that is not finite, or equals another.
    """
    channels = start.channels
    if images.channels > channels:
        raise SourceError(
            f"dataset {images.name} has {images.channels} channels, source {recipe.source} takes {channels}",
            f"store the images as grayscale: datasets.{images.name}.channels: {channels}",
        )
    batch = probe_images(images, channels)
    target = target_statistics(recipe, images)
    outcomes: dict[str, Tensor] = {}
    obstacles: list[TrackerError] = []
    for name in names:
        try:
            outcomes[name] = build_normalization(name, target=target, source=start.statistics, channels=channels)(batch)
        except TrackerError as error:
            obstacles.append(error)
    where = f"on dataset {images.name} with source {recipe.source}"
    for name, outcome in outcomes.items():
        if not bool(torch.isfinite(outcome).all()):
            obstacles.append(DataError(f"normalization {name} gives values that are not finite {where}"))
    for one, other in combinations(outcomes, 2):
        if torch.equal(outcomes[one], outcomes[other]):
            obstacles.append(
                DataError(
                    f"normalizations {one} and {other} do the same {where}: comparing them would compare nothing",
                    "leave one of them out, or choose a source trained on other images",
                )
            )
    if obstacles:
        raise PreflightError(obstacles)


def probe_batch(recipe: Recipe, images: ImageSet, start: StartingPoint) -> None:
    """Run the network on the smallest batch the trial will meet, in training mode, without learning from it.

    Raises:
        DataError: nothing is left to train on, the images do not suit the network, or the last
            batch of an epoch is a single image that BatchNorm cannot train on.
    """
    train, _, _ = split_sizes(recipe, len(images.train), len(images.test))
    if train < 1:
        raise DataError(f"dataset {images.name}: no training images are left", "lower val_fraction")
    smallest = train % recipe.batch_size or min(recipe.batch_size, train)
    network, head = build_network(recipe.model, channels=start.channels, classes=len(images.classes), seed=recipe.seed)
    classifier = Classifier(MinMax(), network, head, start.channels)
    classifier.train_mode(recipe.tune)
    # A batch of one at 1 x 1 is what BatchNorm cannot do; larger ones are alike.
    batch = torch.from_numpy(images.train.images[: min(smallest, 2)].copy())
    try:
        with torch.no_grad():
            classifier(batch)
    except (ValueError, RuntimeError) as error:
        size = f"{images.image_size} x {images.image_size}"
        if smallest == 1:
            raise DataError(
                f"the last batch of an epoch would hold one image, which {recipe.model} cannot train on at {size} "
                f"({train} images, batch_size {recipe.batch_size}): {error}",
                f"another batch_size, for one {recipe.batch_size + 1}",
            ) from error
        raise DataError(
            f"{recipe.model} cannot take the {size} images of dataset {images.name}: {error}",
            f"set datasets.{images.name}.image_size, or choose another model",
        ) from error
