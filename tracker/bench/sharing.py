"""How many trials to give a device at once: as many as are measured to pay there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

from tracker.bench.company import Company, side_by_side
from tracker.bench.machine import step_flops
from tracker.bench.subject import usable_execution
from tracker.study.recipe import Recipe
from tracker.study.study import Cell
from tracker.training import mps
from tracker.training.execution import parse_execution
from tracker.training.splits import split_sizes
from tracker.vision.images import ImageSet
from tracker.vision.stand_ins import Shape

PAYS = 1.05
"""How many times as many images a second twice as many trials must give; less may be chance, and costs memory."""
MOST = 16
"""Trials on one device at most; each has a process of its own, with a network and its copy of the data."""

Kind = tuple[str, str, str, int, str]


def trials_that_pay(
    cells: Sequence[Cell],
    images: Mapping[str, ImageSet],
    device: torch.device,
    accelerate: str,
    say: Callable[[str], None],
) -> int:
    """Return how many trials of a study a device should be given at once: 1, 2, 4 ... are tried for some seconds each.

    Tried is the network and dataset that most of the work belongs to. Where a larger one then does not fit, the
    sweep lowers the number by itself.

    Args:
        cells: that are to run; there are never more trials than cells.
        images: by dataset.
        accelerate: as of `parse_execution`.
        say: told what is measured, and the choice.

    Raises:
        TrainingError: a trial failed for another reason than memory.
    """
    most = min(MOST, len(cells), len(os.sched_getaffinity(0)))
    if most < 2:
        return 1
    recipe, shape = heaviest(cells, images)
    wanted = parse_execution(accelerate, device)
    execution = usable_execution(recipe, shape, device, wanted, lambda _: None)  # why not all of it, the workers say
    what = f"{recipe.model} at {shape.size} x {shape.size}"
    say(f"measuring how many trials at once pay on {device}: {what}")
    found: list[Company] = []
    for company in choices(lambda trials: side_by_side(recipe, shape, device, execution, trials=trials), most):
        rate = f"{company.rate:,.0f} images/s" if company.fits else "do not fit"
        found.append(company)
        say(f"  {company.trials} at once: {rate}")
    best = chosen(found)
    say(f"trials on each device: {best}")
    if best == 1 and device.type == "cuda" and not mps.serves():  # of more of them the sweep itself says so
        say(mps.IN_TURNS)
    return best


def choices(measure: Callable[[int], Company], most: int) -> Iterator[Company]:
    """Measure 1, 2, 4 ... trials, until more do not pay or do not fit."""
    found: list[Company] = []
    trials = 1
    while trials <= most:
        company = measure(trials)
        yield company
        found.append(company)
        if chosen(found) < trials or not company.fits:
            return
        trials *= 2


def chosen(found: Sequence[Company]) -> int:
    """Return the number of trials of the last company that paid; 1 where not even one fits.

    What is too large alone goes on in parts: a matter for the sweep.
    """
    best = found[0]
    for company in found[1:]:
        if company.rate >= PAYS * best.rate:
            best = company
    return best.trials


def heaviest(cells: Sequence[Cell], images: Mapping[str, ImageSet]) -> tuple[Recipe, Shape]:
    """Return the recipe of the cells that most of the arithmetic belongs to, and the shape of its images."""
    work: dict[Kind, float] = {}
    first: dict[Kind, tuple[Recipe, Shape]] = {}
    for cell in cells:
        recipe = cell.recipe
        image_set = images[recipe.dataset]
        train, _, test = split_sizes(recipe, len(image_set.train), len(image_set.test))
        shape = Shape(train, test, image_set.image_size, len(image_set.classes), image_set.channels)
        kind: Kind = (recipe.model, recipe.dataset, recipe.tune, recipe.batch_size, recipe.precision)
        if kind not in first:
            first[kind] = (recipe, shape)
        work[kind] = work.get(kind, 0.0) + train * recipe.epochs
    if len(first) == 1:
        return next(iter(first.values()))
    for kind, (recipe, shape) in first.items():
        work[kind] *= step_flops(recipe, shape.size, shape.classes)
    return first[max(work, key=work.__getitem__)]
