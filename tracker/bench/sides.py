"""The two that are measured side by side: the reference study's way, and this program's engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol, Self

import torch

from tracker.bench.reference import WORKERS, judge_epoch, loader_of, train_epoch
from tracker.study.recipe import Recipe
from tracker.training.evaluate import evaluate
from tracker.training.execution import Execution, prepare
from tracker.training.input import build_input
from tracker.training.splits import to_device, trial_data
from tracker.training.step import take_step
from tracker.training.trial import EpochResult, build_classifier, build_optimizer, run_epochs
from tracker.vision.augmentation import EpochPlan, draw_plan
from tracker.vision.images import ImageSet
from tracker.vision.models import build_network
from tracker.vision.sources import random_source

PIECES = {
    "input": "training images made ready for the network, and nothing else",
    "step": "one optimizer step; the engine's makes its input too, the reference's is given it",
    "evaluation": "test images judged, from bytes to accuracy",
    "epoch": "training and evaluation, from bytes to metrics",
}
"""What is timed, in the order of the table."""


def loader_workers() -> int:
    """Return how many processes the reference's loader has here."""
    return min(WORKERS, len(os.sched_getaffinity(0)))


class Side(Protocol):
    """One way of doing the pieces; each is timed as a whole."""

    def input(self) -> None: ...

    def step(self) -> None: ...

    def evaluation(self) -> None: ...

    def epoch(self) -> None: ...


class ReferenceSide:
    """The reference study's way; use it in a `with`, which ends its loaders' processes.

    Args:
        images: of an epoch.
        stock: training images of `input`; more, since a loader needs some batches to get going.
    """

    def __init__(self, recipe: Recipe, images: ImageSet, stock: ImageSet, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        network, _ = build_network(recipe.model, channels=3, classes=len(images.classes), seed=recipe.seed)
        self._network = network.to(device)
        self._device = device
        self._optimizer = torch.optim.Adam(self._network.parameters(), lr=recipe.lr)
        workers = loader_workers()
        self._train = loader_of(recipe, images.train, images.statistics, workers, train=True)
        self._test = loader_of(recipe, images.test, images.statistics, workers, train=False)
        self._stock = loader_of(recipe, stock.train, stock.statistics, workers, train=True)
        self._batch = next(iter(self._train))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        del self._train, self._test, self._stock  # a loader's processes end with it

    def input(self) -> None:
        """Load the stock's batches."""
        for _ in self._stock:
            pass

    def step(self) -> None:
        """Train on a batch that is loaded."""
        train_epoch(self._network, self._optimizer, iter([self._batch]), self._device)

    def evaluation(self) -> None:
        """Judge the test images."""
        judge_epoch(self._network, iter(self._test), self._device)

    def epoch(self) -> None:
        """Train on all images, judge all test images."""
        train_epoch(self._network, self._optimizer, iter(self._train), self._device)
        self.evaluation()


class EngineSide:
    """This program's engine, as a trial uses it.

    Args:
        images, stock: as of `ReferenceSide`.
    """

    def __init__(
        self, recipe: Recipe, images: ImageSet, stock: ImageSet, device: torch.device, execution: Execution
    ) -> None:
        self._recipe = recipe
        self._data = trial_data(recipe, images, device)
        self._classifier = build_classifier(recipe, images, random_source(recipe.model))
        prepare(self._classifier, device, execution)
        self._optimizer = build_optimizer(recipe, self._classifier, execution)
        self._pipeline = build_input(self._classifier, recipe.crop_padding, self._data.train.images, execution)
        self._stock = to_device(stock.train, device)
        self._plan = self._draw(len(self._data.train))
        self._epochs: Iterator[EpochResult] = run_epochs(
            *(recipe, self._classifier, self._data, device), optimizer=self._optimizer, execution=execution
        )

    def input(self) -> None:
        """Draw the stock's plan and make its input."""
        plan = self._draw(len(self._stock))
        for first in range(0, len(self._stock), self._recipe.batch_size):
            self._pipeline(self._stock.images, plan.batch(first, self._recipe.batch_size))

    def step(self) -> None:
        """Train on the first batch."""
        device = self._data.train.labels.device
        self._classifier.train_mode(self._recipe.tune)
        take_step(
            self._classifier,
            self._optimizer,
            self._data.train,
            self._plan.batch(0, self._recipe.batch_size),
            self._pipeline,
            1,
            torch.zeros((), dtype=torch.float64, device=device),
            torch.zeros((), dtype=torch.int64, device=device),
        )

    def evaluation(self) -> None:
        """Judge the test images."""
        evaluate(self._classifier, self._data.test, pipeline=self._pipeline)

    def epoch(self) -> None:
        """Train on all images, judge all test images."""
        next(self._epochs)

    def _draw(self, count: int) -> EpochPlan:
        recipe = self._recipe
        plan = draw_plan(count, seed=recipe.seed, epoch=0, crop_padding=recipe.crop_padding, flip=recipe.flip)
        return plan.to(self._data.train.labels.device)
