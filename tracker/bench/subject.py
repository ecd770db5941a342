"""What is trained while it is measured: a model on images of a dataset's shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch

from tracker.study.recipe import Precision, Recipe
from tracker.study.shifts import AS_IS
from tracker.training.execution import CUDA_GRAPH, Execution, prepare
from tracker.training.selfcheck import STEPS_IMAGES, with_usable_input
from tracker.training.splits import to_device, trial_data
from tracker.training.trial import EpochResult, build_classifier, build_optimizer, run_epochs
from tracker.training.verdicts import agreed_execution
from tracker.vision.images import ImageSet
from tracker.vision.rewrites.rewriting import REWRITES, rewrite
from tracker.vision.stand_ins import Shape, random_images, stand_in
from tracker.vision.statistics import PUBLISHED

SEED = 223
CHECKED = STEPS_IMAGES
"""Images that an execution is checked on: enough for a short last batch, which is recorded and compiled by itself."""
EPOCHS = 100_000
"""More than any measurement trains."""
LEARNING_RATE = 1e-5
"""Decides nothing about time, and keeps a loss on random labels finite."""


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
    """Return images of a dataset's shape, with its published statistics.

    Args:
        count: training images; test images are a fifth of them.
    """
    shape = replace(SHAPES[dataset], train=count, test=max(1, count // EVALUATED))
    return random_images(shape, seed, dataset, PUBLISHED[dataset])


def make_recipe(model: str, dataset: str, batch_size: int, precision: Precision = "fp32") -> Recipe:
    """Return the reference protocol's recipe, from random weights: their values decide nothing about time either."""
    return Recipe(
        model=model, dataset=dataset, normalization="finetune", source="random", statistics="published",
        batch_size=batch_size, epochs=EPOCHS, lr=LEARNING_RATE, precision=precision,
    )  # fmt: skip


def bare(recipe: Recipe) -> Recipe:
    """Return a recipe as it is measured: what decides time is its own, all else needs nothing on this machine."""
    plain = {"shift": AS_IS, "statistics": "exact", "limit_train": None, "limit_test": None, "val_fraction": 0.0}
    return recipe.model_copy(update={**plain, "epochs": EPOCHS, "lr": LEARNING_RATE})


def usable_execution(
    recipe: Recipe, shape: Shape, device: torch.device, wanted: Execution, say: Callable[[str], None]
) -> Execution:
    """Return what a sweep would train this with: what is wanted, where it does what the plain path does.

    A rewrite that finds nothing in the network is left out too, so that what is named is what was used.

    Args:
        say: told why it is something else.
    """
    images = random_images(replace(shape, train=CHECKED, test=1), SEED, recipe.dataset, PUBLISHED.get(recipe.dataset))
    classifier = build_classifier(recipe, images, stand_in(recipe, images))
    split = to_device(images.train, device)
    wanted = with_usable_input(recipe, classifier, split, wanted, say)
    used = agreed_execution(recipe, classifier, split, device, wanted, say)
    asked = [name for name in REWRITES if name in used]
    found = rewrite(classifier.network, asked)
    for name in (name for name in asked if name not in found):
        say(f"{name} finds nothing to do in {recipe.model}")
        used = used.without(name)
    return used


def train(
    recipe: Recipe,
    images: ImageSet,
    device: torch.device,
    execution: Execution,
    say: Callable[[str], None],
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[EpochResult]:
    """Build a trial and yield its epochs.

    Args:
        say: told, while it is trained, why steps are not recorded: `carried_out`.
        stop: as of `run_epochs`.
    """
    classifier = build_classifier(recipe, images, stand_in(recipe, images))
    data = trial_data(recipe, images, device)
    prepare(classifier, device, execution, recipe.precision)
    optimizer = build_optimizer(recipe, classifier, execution)
    return run_epochs(recipe, classifier, data, device, stop, optimizer=optimizer, execution=execution, say=say)


def carried_out(execution: Execution, told: Sequence[str]) -> Execution:
    """Return what a trial was trained with in truth.

    Args:
        told: what `run_epochs` said: there is one thing that it tries, and goes on without.
    """
    return execution.without(CUDA_GRAPH) if told else execution
