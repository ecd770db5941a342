"""Time both sides, one after the other, again and again, so that what else the machine does hits both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from tracker.bench.sides import PIECES, EngineSide, ReferenceSide, Side
from tracker.bench.subject import SHAPES, make_images, make_recipe
from tracker.training.execution import Execution

SEED = 223
LOADED = 40
"""Batches of `input`, at least."""


@dataclass(frozen=True)
class Timing:
    """How long a piece took, each time it was done.

    Args:
        images: each time.
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
        peak_bytes: memory of the device at its highest while the engine did it; None on a CPU.
    """

    model: str
    dataset: str
    piece: str
    reference: Timing
    engine: Timing
    peak_bytes: int | None

    @property
    def ratio(self) -> float:
        """How many times faster the engine is: the median over rounds of the ratio within a round."""
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
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Measured]:
    """Measure every piece of every model on every dataset's shape.

    Args:
        batches: that an epoch has; test images are a fifth of its images.
        times: rounds; one more comes before, and does not count.
        say: told what is being measured.
    """
    for dataset in datasets:
        images = make_images(dataset, batches * batch_size, SEED)
        stock = make_images(dataset, max(batches, LOADED) * batch_size, SEED)
        for model in models:
            recipe = make_recipe(model, dataset, batch_size, epochs=times + 1)
            engine = EngineSide(recipe, images, stock, device, execution)
            with ReferenceSide(recipe, images, stock, device) as reference:
                for piece in PIECES:
                    say(f"{model} on {dataset}: {piece}")
                    counts = {"input": len(stock.train), "step": batch_size, "evaluation": len(images.test)}
                    count = counts.get(piece, len(images.train))
                    yield _measured(model, dataset, piece, count, reference, engine, device, times)


def _measured(
    model: str,
    dataset: str,
    piece: str,
    images: int,
    reference: ReferenceSide,
    engine: EngineSide,
    device: torch.device,
    times: int,
) -> Measured:
    theirs, ours, peak = [], [], 0
    for round_number in range(times + 1):
        seconds: dict[str, float] = {}
        sides: list[tuple[str, Side]] = [("theirs", reference), ("ours", engine)]
        for name, side in sides if round_number % 2 else reversed(sides):
            if device.type == "cuda":
                torch.cuda.synchronize(device)
                torch.cuda.reset_peak_memory_stats(device)
            begun = time.perf_counter()
            getattr(side, piece)()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds[name] = time.perf_counter() - begun
            if device.type == "cuda" and side is engine:
                peak = max(peak, torch.cuda.max_memory_allocated(device))
        if round_number:  # the first is a rehearsal: caches, kernels chosen, processes started
            theirs.append(seconds["theirs"])
            ours.append(seconds["ours"])
    return Measured(
        *(model, dataset, piece),
        Timing(images, tuple(theirs)),
        Timing(images, tuple(ours)),
        peak or None,
    )


def projected_hours(found: Sequence[Measured], *, epochs: int = 100, normalizations: int = 4) -> dict[str, float]:
    """Return the hours that the measured part of the reference study's grid takes on one device, a trial at a time.

    From the time of an epoch, whose training and evaluation are scaled apart: no logging, no checkpoints, no start.

    Returns:
        By side: reference and engine.
    """
    hours = {"reference": 0.0, "engine": 0.0}
    by_place = {(each.model, each.dataset, each.piece): each for each in found}
    for (model, dataset, piece), whole in by_place.items():
        if piece != "epoch":
            continue
        for side in hours:
            epoch, judged = getattr(whole, side), getattr(by_place[model, dataset, "evaluation"], side)
            training = max(0.0, epoch.median - judged.median) / epoch.images * SHAPES[dataset].train
            seconds = training + SHAPES[dataset].test / judged.rate
            hours[side] += seconds * epochs * normalizations / 3600
    return hours
