"""How long and on how many images each run of a short sweep is trained, so that the budget is well spent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tracker.advise.pace import Pace
from tracker.significance.verdicts import FIRST_SEEDS
from tracker.study.recipe import Recipe

FIRST_SHARE = 0.4
"""The part of the budget that the first round may take: the rest is for the seeds that undecided settings need."""
WHOLE_SHARE = 0.9
"""The same where only the smallest plan fits: there is no second round then."""
START_SECONDS = 6.0
"""Until the first run begins: MLflow's server and a worker start."""

USUAL_EPOCHS, MOST_EPOCHS, LEAST_EPOCHS = 5, 30, 3
"""More than usual only where there are few images; fewer before images are left out beyond the least."""
LEAST_TRAIN, LEAST_TEST, LEAST_A_CLASS = 200, 400, 10
"""The least that is trained on, and tested on, where there are as many: so many, and so many for each class."""
TEST_RATIO = 2
"""Test images for each training image, where there are as many. They cost a third, and while seeds can be added, what
too few test images blur no number of seeds makes sharp."""

SMALLEST_BATCH, LARGEST_BATCH, STEPS = 16, 128, 16
"""Batches are powers of two, so large that an epoch has this many steps; BatchNorm needs some images in each."""


@dataclass(frozen=True)
class Plan:
    """What each run is given.

    Args:
        epochs, batch_size: of the recipe.
        train, test: images trained and tested on.
        cell_seconds: what a run is expected to take.
    """

    epochs: int
    batch_size: int
    train: int
    test: int
    cell_seconds: float


def make_plan(pace: Pace, seconds: float, settings: int, *, train: int, test: int, classes: int) -> Plan | None:
    """Choose the sizes of a first round: as many images as fit in its share of the budget.

    Args:
        seconds: left of the budget.
        settings: how many are compared, each with `FIRST_SEEDS` seeds.
        train, test: images there are.

    Returns:
        None where not even the smallest plan fits.
    """
    cells = settings * FIRST_SEEDS
    room = seconds - START_SECONDS
    chosen = _fitting(pace, FIRST_SHARE * room / cells, train, test, classes)
    if chosen is None:
        smallest = smallest_plan(pace, train=train, test=test, classes=classes)
        return smallest if smallest.cell_seconds * cells <= WHOLE_SHARE * room else None
    return chosen


def smallest_plan(pace: Pace, *, train: int, test: int, classes: int) -> Plan:
    """Return the plan below which a comparison says nothing."""
    return _plan(pace, LEAST_EPOCHS, _least(train, LEAST_TRAIN, classes), _least(test, LEAST_TEST, classes))


def least_budget(pace: Pace, settings: int, *, train: int, test: int, classes: int) -> float:
    """Return the seconds that the smallest plan takes, with what comes before its first run."""
    smallest = smallest_plan(pace, train=train, test=test, classes=classes)
    return START_SECONDS + smallest.cell_seconds * settings * FIRST_SEEDS / WHOLE_SHARE


def whole(train: int, test: int) -> Plan:
    """Return one epoch of everything, of which no time is told: what the pace is measured with."""
    batch_size = batch_size_for(train)
    return Plan(1, batch_size, _without_single(train, batch_size), test, 0.0)


def batch_size_for(train: int) -> int:
    """Return a batch size for so many training images."""
    size = SMALLEST_BATCH
    while size < LARGEST_BATCH and train >= 2 * size * STEPS:
        size *= 2
    return size


def crop_padding_for(image_size: int) -> int:
    """Return the padding of random crops: an eighth of a side, as the reference protocol has at 32 pixels."""
    padding: int = Recipe.model_fields["crop_padding"].default
    return min(padding, image_size // 8)


def _fitting(pace: Pace, seconds: float, train: int, test: int, classes: int) -> Plan | None:
    """Return the largest plan whose runs take at most so many seconds."""
    least_train, least_test = _least(train, LEAST_TRAIN, classes), _least(test, LEAST_TEST, classes)

    def tested(trained: int) -> int:
        return min(test, max(TEST_RATIO * trained, least_test))

    def fits(epochs: int, trained: int, held_out: int) -> bool:
        return pace.cell_seconds(epochs, trained, held_out) <= seconds

    epochs = _most(LEAST_EPOCHS, USUAL_EPOCHS, lambda count: fits(count, least_train, tested(least_train)))
    if not fits(epochs, least_train, tested(least_train)):
        return None
    trained = _most(least_train, train, lambda count: fits(epochs, count, tested(count)))
    held_out, longest = tested(trained), epochs
    if trained == train:  # all of them: what is left goes to more test images, then to more epochs
        held_out = _most(held_out, test, lambda count: fits(epochs, train, count))
        longest = _most(epochs, MOST_EPOCHS, lambda count: fits(count, train, held_out))
    return _plan(pace, longest, trained, held_out)


def _plan(pace: Pace, epochs: int, train: int, test: int) -> Plan:
    batch_size = batch_size_for(train)
    train = _without_single(train, batch_size)
    return Plan(epochs, batch_size, train, test, pace.cell_seconds(epochs, train, test))


def _without_single(train: int, batch_size: int) -> int:
    """Leave an image out where it would be the last batch by itself, which BatchNorm cannot train on."""
    return train - 1 if train % batch_size == 1 and train > 1 else train


def _least(there: int, least: int, classes: int) -> int:
    return min(there, max(least, LEAST_A_CLASS * classes))


def _most(low: int, high: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number from `low` to `high` that fits, if all smaller ones do; `low` is not looked at."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
