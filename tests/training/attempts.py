"""A trial in as many attempts as it takes, each with everything new but its folder."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.conftest import stripes
from tracker.study import faults
from tracker.study.errors import Stopped
from tracker.study.recipe import Recipe
from tracker.training.execution import PLAIN, Execution, prepare
from tracker.training.splits import trial_data
from tracker.training.state import TrialState
from tracker.training.store import StateStore
from tracker.training.trial import build_classifier, build_optimizer, run_epochs
from tracker.vision.images import ImageSet, Statistics
from tracker.vision.models import Classifier
from tracker.vision.sources import random_source

CPU = torch.device("cpu")
STEPS = 3
"""Of an epoch of `few_images` and `short_recipe`: 18 images, 6 at a time."""

BATCH = 5
"""Of 18 images: three whole batches and a short one."""
SUMMED = ("val_loss", "test_loss")
"""The last batch of a recorded evaluation is filled up, and a sum over it rounds otherwise."""


class Killed(Exception):
    """The end of an attempt that saves nothing more."""


def few_images(size: int) -> ImageSet:
    """24 training and 9 test images, one channel, three classes."""
    statistics = Statistics((0.5,), (0.3,))
    return ImageSet("stripes", stripes(24, 0, size), stripes(9, 1, size), ("a", "b", "c"), statistics, "0" * 16)


def short_recipe(model: str = "resnet18", **changes: object) -> Recipe:
    """Three epochs of three steps, with all that is random and a validation split."""
    kept = {"dataset": "stripes", "normalization": "finetune", "seed": 1, "source": "random"}
    short = {"epochs": 3, "batch_size": 6, "crop_padding": 1, "val_fraction": 0.25}
    return Recipe.model_validate({"model": model, **kept, **short, **changes})


def dropping(**changes: object) -> Recipe:
    """Return a recipe of a small network with BatchNorm and dropout, in batches of which the last is short."""
    return short_recipe("mobilenet_v3_small", batch_size=BATCH, **changes)


def asked_at(question: int, error: type[Exception] | None = None) -> Callable[[], bool]:
    """Return a `stop` that says yes, or raises, when asked the nth time, counted from 0."""
    asked = iter(range(1_000_000))

    def stop() -> bool:
        now = next(asked) == question
        if now and error is not None:
            raise error
        return now

    return stop


def attempt(
    recipe: Recipe,
    images: ImageSet,
    folder: Path,
    stop: Callable[[], bool] = lambda: False,
    execution: Execution = PLAIN,
    room: int | None = None,
    device: torch.device = CPU,
    **ways: Any,
) -> tuple[TrialState, Classifier]:
    """Go on from what the folder has, durable after each epoch and when stopped.

    Args:
        room: as of `trial_data`.
        ways: of `run_epochs`: how it carries out its steps.
    """
    classifier = prepare(
        build_classifier(recipe, images, random_source(recipe.model)), device, execution, recipe.precision
    )
    optimizer = build_optimizer(recipe, classifier, execution)
    store = StateStore(folder, {"model": recipe.model})
    state = store.load(classifier, optimizer).state or TrialState()
    epochs = run_epochs(
        *(recipe, classifier, trial_data(recipe, images, device, room), device, stop),
        optimizer=optimizer,
        position=state.position,
        execution=execution,
        **ways,
    )
    try:
        for result in epochs:
            state.add(result, classifier, moment_ms=result.epoch)
            store.save(state, classifier, optimizer)
    except Stopped:
        store.save(state, classifier, optimizer)
    return state, classifier


def attempt_with_fault(fault: str, recipe: Recipe, images: ImageSet, folder: Path) -> None:
    """Do the same in one thread of a process of its own, where something goes wrong."""
    os.environ[faults.VARIABLE] = fault
    torch.set_num_threads(1)
    attempt(recipe, images, folder)


def undisturbed(
    recipe: Recipe,
    images: ImageSet,
    execution: Execution = PLAIN,
    room: int | None = None,
    device: torch.device = CPU,
    **ways: Any,
) -> tuple[TrialState, Classifier]:
    """Train from start to end with nothing written.

    Args:
        room, device, ways: as of `attempt`.
    """
    classifier, state = build_classifier(recipe, images, random_source(recipe.model)), TrialState()
    data = trial_data(recipe, images, device, room)
    prepare(classifier, device, execution, recipe.precision)
    for result in run_epochs(recipe, classifier, data, device, position=state.position, execution=execution, **ways):
        state.add(result, classifier, moment_ms=result.epoch)
    return state, classifier


def without_times(state: TrialState) -> list[dict[str, float]]:
    """Return the history less what no two trials share."""
    times = ("epoch_seconds", "images_per_second")
    return [{name: value for name, value in metrics.items() if name not in times} for _, metrics in state.history]


def assert_same_bits(
    one: tuple[TrialState, Classifier], other: tuple[TrialState, Classifier], summed: tuple[str, ...] = ()
) -> None:
    """See that two trials ended with the same weights, history, choices and predictions.

    Args:
        summed: metrics that may be summed up in another order.
    """
    (state, classifier), (other_state, other_classifier) = one, other
    for what, found, expected in (
        ("last", classifier.state_dict(), other_classifier.state_dict()),
        ("best", state.best_weights(classifier), other_state.best_weights(other_classifier)),
        ("predictions", state.predictions, other_state.predictions),
    ):
        assert found.keys() == expected.keys(), what
        for name, tensor in expected.items():
            assert torch.equal(found[name], tensor), f"{what}: {name}"
    for metrics, others in zip(without_times(state), without_times(other_state), strict=True):
        for name in summed:
            assert metrics.pop(name) == pytest.approx(others.pop(name), rel=1e-6), name
        assert metrics == others
    assert state.position.selection == other_state.position.selection
    assert all(math.isfinite(value) for metrics in without_times(state) for value in metrics.values())
