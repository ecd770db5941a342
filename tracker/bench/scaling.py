"""How the cost of training grows: with images, classes, pixels, and with trials that share the device."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

from tracker.bench.companion import REHEARSALS
from tracker.bench.company import side_by_side
from tracker.bench.subject import EVALUATED, SEED, SHAPES, carried_out, make_recipe, train, usable_execution
from tracker.study.recipe import Precision, Recipe
from tracker.training.device import is_out_of_memory
from tracker.training.execution import Execution
from tracker.training.trial import EpochResult
from tracker.vision.stand_ins import Shape, random_images
from tracker.vision.statistics import PUBLISHED

TERMS = {
    "images": "training images of an epoch; as many test images as a fifth of them",
    "classes": "classes of the dataset",
    "pixels": "pixels of an image, from its size squared",
    "trials": "trials on the device at once, each a process with its share of the cores",
}
"""What is varied, each alone; the cost is the time of an epoch, and for `trials` the time in which all of them train
one."""
PARTS = (0.25, 0.5, 1, 2)
"""Of the usual images; the least of them where something else is varied."""
CLASSES = (10, 100, 1000)
SIZES = (1, 1.5, 2, 3)
"""Times the dataset's size of a side."""
TRIALS = (1, 2, 4)
SECONDS = 2.0
"""That trials in company are timed for, and then to the end of their epochs."""
LINEAR = 1.05
"""A fitted exponent up to this is called linear: a clock in a machine with other things to do is not better."""


@dataclass(frozen=True)
class Point:
    """One value of a term.

    Args:
        value: of what is varied, in the term's own unit.
        execution: what was used.
        seconds: the cost, one for each round; empty where it does not fit into memory.
    """

    value: float
    execution: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Term:
    """How cost grows with one thing.

    Args:
        name: a key of `TERMS`.
        points: in rising order; those that do not fit left out.
    """

    name: str
    points: tuple[Point, ...]

    @property
    def exponents(self) -> tuple[float, ...]:
        """The exponent of cost against the term, fitted in each round; none where there are not two points."""
        if len(self.points) < 2:
            return ()
        values = [point.value for point in self.points]
        rounds = zip(*(point.seconds for point in self.points), strict=True)
        return tuple(exponent(values, seconds) for seconds in rounds)

    @property
    def verdict(self) -> str:
        """Say whether cost grows at most linearly."""
        if not self.exponents:
            return "too few points"
        if statistics.median(self.exponents) <= LINEAR:
            return "at most linear"
        if min(self.exponents) <= LINEAR:
            return "undecided: worse than linear, but not in each round"
        return "worse than linear"


def exponent(values: Sequence[float], seconds: Sequence[float]) -> float:
    """Return b of seconds = a * values ** b, by least squares of the logarithms."""
    slope, _ = np.polyfit(np.log(values), np.log(seconds), 1)
    return float(slope)


def measure_scaling(
    model: str,
    dataset: str,
    device: torch.device,
    execution: Execution,
    *,
    batch_size: int,
    batches: int,
    times: int,
    precision: Precision = "fp32",
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[list[Term]]:
    """Measure every term for one model, around a dataset's shape: all points in turn, and yield them after each round.

    Args:
        execution: what is asked for; each shape is measured with what a sweep would make of it.
        batches: usual images of an epoch.
        times: rounds, after a rehearsal of each point.
        say: told what is being measured, each time that was taken, and why an execution is not what was asked for.
    """
    recipe = make_recipe(model, dataset, batch_size, precision)
    usual = _with_images(SHAPES[dataset], batches * batch_size)
    say = partial(_once, set(), say)
    usable: dict[tuple[int, int], Execution] = {}  # by what the check depends on
    timed: list[_Timed] = []
    for term, value, shape in _shapes(usual):
        say(f"{model}: {term} {value:,}")
        key = (shape.size, shape.classes)
        if key not in usable:
            usable[key] = usable_execution(recipe, shape, device, execution, say)
        used = usable[key]
        said: list[str] = []
        results = _trained(recipe, shape, device, used, said.append)
        timed.append(_Timed(term, value, used, partial(_epoch, results), said))
        for _ in range(REHEARSALS[device.type]):
            timed[-1].time(say)
    used = usable_execution(recipe, usual, device, execution, say)
    most = len(os.sched_getaffinity(0)) if device.type == "cpu" else max(TRIALS)
    for count in (count for count in TRIALS if count <= most):
        said = []
        work = partial(_together, recipe, usual, device, used, count, batches, said)
        timed.append(_Timed("trials", count, used, work, said))
    for each in timed:
        each.seconds.clear()  # of rehearsals
    for number in range(times):
        say(f"{model}: round {number + 1} of {times}")
        for each in timed if number % 2 else reversed(timed):
            each.time(say)
            if each.fits:
                say(f"{model}, {each.term} {each.value:,}, round {number + 1}: {each.seconds[-1]:,.3f} s")
        yield [Term(name, tuple(each.point for each in timed if each.term == name and each.fits)) for name in TERMS]


def _once(said: set[str], say: Callable[[str], None], text: str) -> None:
    """Say a text that has not been said yet."""
    if text not in said:
        said.add(text)
        say(text)


def _shapes(usual: Shape) -> Iterator[tuple[str, int, Shape]]:
    """Yield what is timed in this process: term, value, shape."""
    few = _with_images(usual, usual.train * min(PARTS))
    for part in PARTS:
        shape = _with_images(usual, usual.train * part)
        yield "images", shape.train, shape
    for classes in CLASSES:
        yield "classes", classes, replace(few, classes=classes)
    for times in SIZES:
        size = int(usual.size * times)
        yield "pixels", size**2, replace(few, size=size)


def _with_images(shape: Shape, count: float) -> Shape:
    images = max(2, int(count))
    return replace(shape, train=images, test=max(1, images // EVALUATED))


@dataclass
class _Timed:
    """A point while it is measured.

    Args:
        work: done once, returns the seconds that it took.
        told: what its trials said while they were trained.
    """

    term: str
    value: int
    execution: Execution
    work: Callable[[], float] | None
    told: list[str]
    seconds: list[float] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        """Whether memory has been large enough so far."""
        return self.work is not None

    @property
    def point(self) -> Point:
        return Point(self.value, str(carried_out(self.execution, self.told)), tuple(self.seconds))

    def time(self, say: Callable[[str], None]) -> None:
        """Do the work once more, unless it has turned out not to fit."""
        if self.work is None:
            return
        before = len(self.told)
        try:
            self.seconds.append(self.work())
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self.work = None  # with all that it holds
            say(f"{self.term} {self.value:,} left out: {str(error).partition(chr(10))[0]}")
        for reason in self.told[before:]:
            say(f"{self.term} {self.value:,}: {reason}")


def _trained(
    recipe: Recipe, shape: Shape, device: torch.device, execution: Execution, say: Callable[[str], None]
) -> Iterator[EpochResult]:
    """Make images, build a trial, and yield its epochs: all of it when the first is asked for."""
    images = random_images(shape, SEED, recipe.dataset, PUBLISHED[recipe.dataset])
    yield from train(recipe, images, device, execution, say)


def _epoch(results: Iterator[EpochResult]) -> float:
    """Train and judge once more; the end of an epoch waits for the device."""
    begun = time.perf_counter()
    next(results)
    return time.perf_counter() - begun


def _together(
    recipe: Recipe,
    shape: Shape,
    device: torch.device,
    execution: Execution,
    trials: int,
    batches: int,
    told: list[str],
) -> float:
    """Return the seconds in which so many trials train an epoch each.

    Args:
        told: what they say is added to it, once.

    Raises:
        MemoryError: they do not fit.
    """
    found = side_by_side(recipe, shape, device, execution, trials=trials, batches=batches, seconds=SECONDS)
    if not found.fits:
        raise MemoryError(found.reason)
    told += [text for text in found.told if text not in told]
    return trials * shape.train / found.rate
