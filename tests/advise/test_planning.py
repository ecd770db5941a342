"""Rules of the plan: it fits its share of the budget, and leaves no room that images could have."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tracker.advise.pace import CELL_SECONDS, Pace
from tracker.advise.planning import (
    FIRST_SHARE,
    LEAST_EPOCHS,
    MOST_EPOCHS,
    START_SECONDS,
    USUAL_EPOCHS,
    WHOLE_SHARE,
    batch_size_for,
    crop_padding_for,
    least_budget,
    make_plan,
    smallest_plan,
    whole,
)
from tracker.significance.verdicts import FIRST_SEEDS

PACE = Pace(train=1 / 300, test=1 / 900)
SIZES = {"train": 50_000, "test": 10_000, "classes": 10}


def first_round(plan_seconds: float, settings: int = 4) -> float:
    """Return what a first round takes."""
    return plan_seconds * settings * FIRST_SEEDS


def test_ten_minutes_of_a_large_folder() -> None:
    """As many images as fit in 40 %, twice as many for test as for training, for five epochs."""
    plan = make_plan(PACE, 600, 4, **SIZES)
    assert plan is not None
    assert plan.epochs == USUAL_EPOCHS
    assert (plan.train, plan.test) == (622, 1_244)
    assert plan.batch_size == 32
    assert 0.95 * FIRST_SHARE * 594 < first_round(plan.cell_seconds) <= FIRST_SHARE * 594


def test_a_small_folder_is_used_whole_and_longer() -> None:
    """All images, then more epochs, up to a limit."""
    plan = make_plan(PACE, 600, 4, train=400, test=100, classes=4)
    assert plan is not None
    assert (plan.train, plan.test) == (400, 100)
    assert USUAL_EPOCHS < plan.epochs <= MOST_EPOCHS
    long = make_plan(PACE, 36_000, 4, train=400, test=100, classes=4)
    assert long is not None and long.epochs == MOST_EPOCHS


def test_test_images_come_before_epochs() -> None:
    """Where all training images fit but not all test images, these get the room."""
    plan = make_plan(PACE, 400, 4, train=300, test=5_000, classes=4)
    assert plan is not None
    assert (plan.train, plan.epochs) == (300, USUAL_EPOCHS)
    assert 300 < plan.test < 5_000


def test_a_short_budget_gets_fewer_epochs_then_the_smallest_plan_then_none() -> None:
    """The least budget is told; one that has it gets the smallest plan, a second less gets none."""
    smallest = smallest_plan(PACE, **SIZES)
    assert (smallest.epochs, smallest.train, smallest.test) == (LEAST_EPOCHS, 200, 400)
    least = least_budget(PACE, 4, **SIZES)
    assert make_plan(PACE, least + 1e-6, 4, **SIZES) == smallest
    assert make_plan(PACE, least - 1, 4, **SIZES) is None
    assert least == START_SECONDS + first_round(smallest.cell_seconds) / WHOLE_SHARE


@given(
    train=st.integers(2, 100_000),
    test=st.integers(2, 20_000),
    classes=st.integers(2, 1_000),
    seconds=st.floats(1, 1e5),
    rate=st.floats(1, 1e5),
    state=st.floats(0, 5),
    settings=st.integers(2, 4),
)
def test_every_plan_can_be_run_and_paid(
    train: int, test: int, classes: int, seconds: float, rate: float, state: float, settings: int
) -> None:
    """Never more images than there are, never a last batch of one, never more than the budget."""
    pace = Pace(1 / rate, 1 / (3 * rate), state)
    plan = make_plan(pace, seconds, settings, train=train, test=test, classes=classes)
    if plan is None:
        return
    assert 1 <= plan.train <= train and 1 <= plan.test <= test
    assert LEAST_EPOCHS <= plan.epochs <= MOST_EPOCHS
    assert plan.train % plan.batch_size != 1
    assert plan.cell_seconds == pace.cell_seconds(plan.epochs, plan.train, plan.test)
    assert START_SECONDS + first_round(plan.cell_seconds, settings) <= seconds + 1e-6


def test_a_run_waits_for_its_states() -> None:
    """At most short epochs take as long as making one durable; the last one is waited for."""
    assert Pace(0.01, 0.0, 2.0).cell_seconds(3, 100, 10) == CELL_SECONDS + 1 + 2 * 2 + 2
    assert Pace(0.01, 0.01, 0.5).cell_seconds(2, 100, 100) == CELL_SECONDS + 2 + 2 + 0.5


def test_batches_and_crops_suit_the_images() -> None:
    """Sixteen steps an epoch where that makes a batch of 16 to 128; the protocol's padding from 32 pixels on."""
    assert [batch_size_for(count) for count in (10, 300, 512, 1_024, 5_000)] == [16, 16, 32, 64, 128]
    assert (whole(17, 5).train, whole(17, 5).batch_size, whole(1, 1).train) == (16, 16, 1)
    assert [crop_padding_for(size) for size in (8, 16, 32, 224)] == [1, 2, 4, 4]
