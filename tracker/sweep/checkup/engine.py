"""The whole self-check of the training engine: every acceleration, on every network, held against the plain path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch

from tracker.study.accelerations import ACCELERATIONS
from tracker.study.errors import DeviceError
from tracker.study.home import Home
from tracker.study.recipe import NORMALIZATIONS, PRECISIONS, Precision, Recipe
from tracker.study.study import Study
from tracker.training.execution import COMPILE, FUSED_INPUT, Execution, usual_execution
from tracker.training.precision import require_precision
from tracker.training.selfcheck import STEPS_IMAGES, check_execution, with_usable_input
from tracker.training.splits import to_device
from tracker.training.trial import build_classifier, target_statistics
from tracker.vision.datasets import describe, open_dataset
from tracker.vision.images import ImageSet
from tracker.vision.models import Classifier
from tracker.vision.normalizations import build_normalization
from tracker.vision.stand_ins import Shape, random_images, stand_in

MODELS = ("resnet18", "resnet50", "densenet121", "densenet161")
SIZES = (32, 64)
"""What is checked without a study: the reference study's networks and image sizes."""
TOGETHER = "all together"
"""The column of all accelerations at once but `compile`."""
CLASSES = 10
SEED = 223


@dataclass(frozen=True)
class Subject:
    """What an acceleration is tried on.

    Args:
        recipe: its model, tuning, optimizer and precision count.
        size: pixels of an image's side.
        channels: of an image.
        normalizations: whose input is compared; the rest of the network does not depend on them.
    """

    recipe: Recipe
    size: int
    channels: int
    normalizations: tuple[str, ...] = tuple(NORMALIZATIONS)

    def __str__(self) -> str:
        """Name what is not a recipe's default."""
        recipe = self.recipe
        usual = {name: field.default for name, field in Recipe.model_fields.items()}
        keys = ("tune", "optimizer", "precision")
        own = [str(getattr(recipe, key)) for key in keys if getattr(recipe, key) != usual[key]]
        return ", ".join([recipe.model, f"{self.size} x {self.size}", *own])


@dataclass(frozen=True)
class Outcome:
    """What became of one acceleration on one subject.

    Args:
        acceleration: a key of `ACCELERATIONS`, or `TOGETHER`.
        reason: why the plain path would be taken instead, in a clause; None where it need not be.
    """

    subject: str
    acceleration: str
    reason: str | None


def subjects_of(study: Study | None, home: Home, device: torch.device) -> list[Subject]:
    """Return what is to be checked: the reference study's networks, or those of a study.

    On a GPU the reference study's are checked in every precision that it has. A study's image sizes are those of its
    datasets that are packed here; the others count as 32 x 32, RGB.
    """
    if study is None:
        precisions = [name for name in PRECISIONS if name == "fp32" or _computes_in(name, device)]
        return [
            Subject(_recipe(model, precision=precision), size, 3)
            for precision in precisions
            for size in SIZES
            for model in MODELS
        ]
    shapes: dict[str, tuple[int, int]] = {}
    found: dict[tuple[object, ...], Subject] = {}
    for cell in study.cells:
        recipe = cell.recipe
        if recipe.dataset not in shapes:
            shapes[recipe.dataset] = (32, 3)
            if describe(recipe.dataset, cell.dataset, home).state == "ready":
                images = open_dataset(recipe.dataset, cell.dataset, home)
                shapes[recipe.dataset] = (images.image_size, images.channels)
        size, channels = shapes[recipe.dataset]
        key = (recipe.model, recipe.tune, recipe.optimizer, recipe.precision, size, channels)
        own = _recipe(recipe.model, tune=recipe.tune, optimizer=recipe.optimizer, precision=recipe.precision)
        subject = found.get(key, Subject(own, size, channels, ()))
        names = dict.fromkeys((*subject.normalizations, recipe.normalization))
        found[key] = replace(subject, normalizations=tuple(names))
    return list(found.values())


def _computes_in(precision: Precision, device: torch.device) -> bool:
    """Say whether a GPU has a precision; on a CPU only a study's own are checked."""
    if device.type != "cuda":
        return False
    try:
        require_precision(precision, device)
    except DeviceError:
        return False
    return True


def columns(device: torch.device, *, compiled: bool) -> dict[str, Execution]:
    """Return what is held against the plain path: every acceleration that the device can have, alone and all together.

    Args:
        compiled: also `compile` where the device can have it, alone: it takes longest.
    """
    usual = ACCELERATIONS if device.type == "cuda" else usual_execution(device).names
    names = [name for name in ACCELERATIONS if name in usual]
    together = [name for name in names if name != COMPILE]
    alone = {name: Execution(frozenset([name])) for name in (names if compiled else together)}
    return {**alone, TOGETHER: Execution(frozenset(together))}


def self_check(subject: Subject, device: torch.device, asked: Mapping[str, Execution]) -> Iterator[Outcome]:
    """Hold executions against the plain path on one subject, and yield each outcome as it is found.

    Nothing that was found before is believed, and nothing is kept.

    Args:
        asked: as of `columns`.
    """
    images = random_images(Shape(STEPS_IMAGES, 1, subject.size, CLASSES, subject.channels), SEED, "self-check")
    for name, execution in asked.items():
        try:
            reason = _reason(subject, images, device, execution)
        except Exception as error:  # of the plain path: a network that does not take the images, a full device
            reason = f"the plain path itself failed: {type(error).__name__}: {error}".partition("\n")[0]
        yield Outcome(str(subject), name, reason)


def _reason(subject: Subject, images: ImageSet, device: torch.device, execution: Execution) -> str | None:
    """Say why a trial would not be trained so, whatever its normalization."""
    split = to_device(images.train, device)
    source = stand_in(subject.recipe, images)
    classifier = build_classifier(subject.recipe, images, source)
    if FUSED_INPUT in execution:
        for normalization in subject.normalizations:
            recipe = subject.recipe.model_copy(update={"normalization": normalization})
            target, channels = target_statistics(recipe, images), classifier.channels
            own = build_normalization(normalization, target=target, source=source.statistics, channels=channels)
            fed = Classifier(own, classifier.network, classifier.head_name, channels)
            said: list[str] = []
            with_usable_input(recipe, fed, split, execution, said.append)
            if said:
                return f"{normalization}: {said[0]}"
    return check_execution(subject.recipe, classifier, split, device, execution)


def _recipe(model: str, **keys: object) -> Recipe:
    fixed = {"model": model, "dataset": "self-check", "normalization": "finetune", "source": "random", "seed": SEED}
    return Recipe.model_validate({**fixed, **keys})
