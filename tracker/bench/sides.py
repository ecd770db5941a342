"""The two that are measured side by side: the reference study's way, and this program's engine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol, Self

import torch

from tracker.bench.reference import WORKERS, as_torch_comes, judge_epoch, loader_of, train_epoch
from tracker.study.recipe import Recipe
from tracker.training.execution import Execution, prepare, set_kernel_choice
from tracker.training.input import build_input
from tracker.training.precision import set_tf32
from tracker.training.selfcheck import with_usable_input
from tracker.training.splits import DeviceSplit, to_device, trial_data
from tracker.training.trial import EpochResult, build_classifier, build_optimizer, run_epochs
from tracker.vision.augmentation import EpochPlan, draw_plan
from tracker.vision.images import ImageSet
from tracker.vision.models import Classifier, build_network
from tracker.vision.stand_ins import stand_in

PIECES = {
    "input": "training images made ready for the network, and nothing else",
    "step": "an optimizer step; the engine's makes its input too, the reference's is given it",
    "evaluation": "test images judged, from bytes to accuracy",
    "epoch": "training and evaluation, from bytes to metrics",
    "start": "what a trial does before its first step, once the worker has seen such a network: it is built, brought "
    "to the device, and its input pipeline is held against the plain one; weights are not read from a file",
}
"""What is timed, in the order of the table; `start` is the engine's alone."""
ALONE = ("start",)
STEPS = {"cpu": 1, "cuda": 100}
"""That are done in a row when a step is measured: a GPU is not waited for in between, and what the host does once an
epoch is to be small beside them."""


def loader_workers() -> int:
    """Return how many processes the reference's loader has here."""
    return min(WORKERS, len(os.sched_getaffinity(0)))


class Side(Protocol):
    """One way of doing the pieces; each method does one and returns the seconds that it took."""

    def input(self) -> float: ...

    def step(self) -> float: ...

    def evaluation(self) -> float: ...

    def epoch(self) -> float: ...


class _Clock:
    """Seconds since it was made, once the device has done all that it was given."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._begun = self._now()

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def seconds(self) -> float:
        return self._now() - self._begun


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

    def input(self) -> float:
        """Load the stock's batches."""
        clock = self._clock()
        for _ in self._stock:
            pass
        return clock.seconds()

    def step(self) -> float:
        """Train on a batch that is loaded; return the seconds of one step."""
        steps = STEPS[self._device.type]
        clock = self._clock()
        train_epoch(self._network, self._optimizer, iter([self._batch] * steps), self._device)
        return clock.seconds() / steps

    def evaluation(self) -> float:
        """Judge the test images."""
        clock = self._clock()
        judge_epoch(self._network, iter(self._test), self._device)
        return clock.seconds()

    def epoch(self) -> float:
        """Train on all images, judge all test images."""
        clock = self._clock()
        train_epoch(self._network, self._optimizer, iter(self._train), self._device)
        judge_epoch(self._network, iter(self._test), self._device)
        return clock.seconds()

    def _clock(self) -> _Clock:
        as_torch_comes()  # the engine has set it otherwise
        return _Clock(self._device)


class EngineSide:
    """This program's engine: steps and evaluation are a trial's own, told apart by the metrics that it tells.

    Args:
        images, stock: as of `ReferenceSide`.
        execution: that the network was found to work with.

    Attributes:
        told: what its trials said while they were trained.
    """

    def __init__(
        self, recipe: Recipe, images: ImageSet, stock: ImageSet, device: torch.device, execution: Execution
    ) -> None:
        self._recipe = recipe
        self._images = images
        self._device = device
        self._execution = execution
        self.told: list[str] = []
        self._data = trial_data(recipe, images, device)
        self._stock = to_device(stock.train, device)
        self._classifier, self._optimizer = self._built()
        self._pipeline = build_input(self._classifier, recipe.crop_padding, self._data.train.images, execution)
        self._running: dict[str, Iterator[EpochResult]] = {}

    def input(self) -> float:
        """Draw the stock's plan and make its input."""
        clock = self._clock()
        plan = self._draw(len(self._stock))
        for first in range(0, len(self._stock), self._recipe.batch_size):
            self._pipeline(self._stock.images, plan.batch(first, self._recipe.batch_size))
        return clock.seconds()

    def step(self) -> float:
        """Train on a few batches; return the seconds of one step."""
        steps = STEPS[self._device.type]
        result = self._next("step", train=steps * self._recipe.batch_size, test=1)
        return _training_seconds(result, steps * self._recipe.batch_size) / steps

    def evaluation(self) -> float:
        """Judge the test images, after a step on next to nothing."""
        result = self._next("evaluation", train=2, test=len(self._data.test))
        return result.metrics["epoch_seconds"] - _training_seconds(result, 2)

    def epoch(self) -> float:
        """Train on all images, judge all test images."""
        clock = self._clock()
        self._next("epoch", train=len(self._data.train), test=len(self._data.test))
        return clock.seconds()

    def start(self) -> float:
        """Do what a trial does before its first step."""
        clock = self._clock()
        classifier, _ = self._built()
        with_usable_input(self._recipe, classifier, self._data.train, self._execution, lambda _: None)
        build_input(classifier, self._recipe.crop_padding, self._data.train.images, self._execution)
        return clock.seconds()

    def _built(self) -> tuple[Classifier, torch.optim.Optimizer]:
        recipe, images = self._recipe, self._images
        classifier = build_classifier(recipe, images, stand_in(recipe, images))
        prepare(classifier, self._device, self._execution, recipe.precision)
        return classifier, build_optimizer(recipe, classifier, self._execution)

    def _next(self, piece: str, train: int, test: int) -> EpochResult:
        """Train the next epoch on the first images, repeated where there are too few."""
        self._clock()
        if piece not in self._running:
            data = replace(
                self._data,
                train=_first(self._data.train, train),
                test=_first(self._data.test, test),
                test_index=self._data.test_index[:test],
            )
            self._running[piece] = run_epochs(
                *(self._recipe, self._classifier, data, self._device),
                optimizer=self._optimizer,
                execution=self._execution,
                say=self.told.append,
            )
        return next(self._running[piece])

    def _draw(self, count: int) -> EpochPlan:
        recipe = self._recipe
        plan = draw_plan(count, seed=recipe.seed, epoch=0, crop_padding=recipe.crop_padding, flip=recipe.flip)
        return plan.to(self._data.train.labels.device)

    def _clock(self) -> _Clock:
        if self._device.type == "cuda":
            set_tf32(self._recipe.precision == "tf32")  # the reference has set both otherwise
            set_kernel_choice(self._device, self._execution)
        return _Clock(self._device)


def _first(split: DeviceSplit, count: int) -> DeviceSplit:
    if count == len(split):
        return split
    place = torch.arange(count, device=split.labels.device) % len(split)
    return DeviceSplit(split.images[place], split.labels[place])


def _training_seconds(result: EpochResult, images: int) -> float:
    return images / result.metrics["images_per_second"]
