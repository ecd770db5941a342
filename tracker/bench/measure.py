"""Time both sides, one after the other, again and again, so that what else the machine does hits both."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from tracker.bench.companion import REHEARSALS
from tracker.bench.company import memory_of
from tracker.bench.energy import EnergyCounter, joules_of
from tracker.bench.sides import ALONE, PIECES, EngineSide, ReferenceSide, Side
from tracker.bench.subject import SEED, SHAPES, carried_out, make_images, make_recipe, usable_execution
from tracker.study.recipe import Precision
from tracker.training.execution import Execution

LOADED = 40
"""Batches of `input`, at least."""


@dataclass(frozen=True)
class Timing:
    """How long a piece took, each time it was done.

    Args:
        images: each time; 0 where the piece is not about images.
        seconds: one for each round.
    """

    images: int
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def rate(self) -> float:
        """Images a second, by the median."""
        return self.images / self.median


@dataclass(frozen=True)
class Measured:
    """A piece of work, done both ways.

    Args:
        piece: a key of `PIECES`.
        execution: what the engine used.
        reference: None where only the engine has such a piece.
        joules: that an image took, the reference's way and the engine's; None where that is not told.
        peak_bytes: memory of a trial in a process of its own, at its highest: `Company.peak_bytes`.
    """

    model: str
    dataset: str
    piece: str
    execution: str
    reference: Timing | None
    engine: Timing
    joules: tuple[float, float] | None = None
    peak_bytes: int | None = None

    @property
    def ratio(self) -> float | None:
        """How many times faster the engine is: the median over rounds of the ratio within a round."""
        if self.reference is None:
            return None
        return statistics.median(
            theirs / ours for theirs, ours in zip(self.reference.seconds, self.engine.seconds, strict=True)
        )


def measure(
    models: Sequence[str],
    datasets: Sequence[str],
    device: torch.device,
    execution: Execution,
    *,
    batch_size: int,
    batches: int,
    times: int,
    precision: Precision = "fp32",
    counter: EnergyCounter | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Measured]:
    """Measure every piece of every model on every dataset's shape.

    Args:
        execution: what is asked for; each model and shape is measured with what a sweep would make of it.
        batches: that an epoch has; test images are a fifth of its images.
        times: rounds; one more comes before, and does not count.
        counter: of the device's energy, where it has one.
        say: told what is being measured, and why an execution is not what was asked for.
    """
    for dataset in datasets:
        images = make_images(dataset, batches * batch_size, SEED)
        stock = make_images(dataset, max(batches, LOADED) * batch_size, SEED)
        for model in models:
            recipe = make_recipe(model, dataset, batch_size, precision)
            name = f"{model} on {dataset}"
            about = partial(_about, name, say)
            used = usable_execution(recipe, SHAPES[dataset], device, execution, about)
            counts = {"input": len(stock.train), "step": batch_size, "evaluation": len(images.test), "start": 0}
            with ReferenceSide(recipe, images, stock, device) as reference:
                for piece in PIECES:
                    say(f"{name}: {piece}")
                    engine = EngineSide(recipe, images, stock, device, used)
                    other = None if piece in ALONE else reference
                    count = counts.get(piece, len(images.train))
                    theirs, ours = _rounds(piece, count, other, engine, times, REHEARSALS[device.type])
                    joules = _joules(counter, count, reference, engine) if counter and piece == "epoch" else None
                    for reason in engine.told:
                        about(reason)
                    truly = str(carried_out(used, engine.told))
                    del engine  # with what it holds on the device
                    peak = None
                    if piece == "epoch":
                        peak = memory_of(recipe, SHAPES[dataset], device, used, batches=batches)
                    yield Measured(model, dataset, piece, truly, theirs, ours, joules, peak)


def _about(name: str, say: Callable[[str], None], text: str) -> None:
    say(f"{name}: {text}")


def _rounds(
    piece: str, images: int, reference: Side | None, engine: Side, times: int, rehearsals: int
) -> tuple[Timing | None, Timing]:
    """Time a piece in turn, after rehearsals that do not count: caches, kernels chosen, processes started."""
    sides = [engine] if reference is None else [engine, reference]
    for _ in range(rehearsals - 1):
        getattr(engine, piece)()
    taken: dict[Side, list[float]] = {side: [] for side in sides}
    for round_number in range(times + 1):
        for side in sides if round_number % 2 else reversed(sides):
            taken[side].append(getattr(side, piece)())
    timings = {side: Timing(images, tuple(seconds[1:])) for side, seconds in taken.items()}
    return None if reference is None else timings[reference], timings[engine]


def _joules(counter: EnergyCounter, images: int, reference: Side, engine: Side) -> tuple[float, float]:
    """Return what an image of an epoch takes, both ways."""
    return joules_of(counter, reference.epoch) / images, joules_of(counter, engine.epoch) / images
