"""A trial that was stopped or killed, and went on: the same bits as one that nobody disturbed."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path

import pytest
import torch

from tests.training.attempts import (
    CPU,
    STEPS,
    Killed,
    asked_at,
    assert_same_bits,
    attempt,
    attempt_with_fault,
    few_images,
    short_recipe,
    undisturbed,
)
from tracker.study.errors import NotFinite, Stopped
from tracker.training.position import Position
from tracker.training.splits import trial_data
from tracker.training.state import TrialState
from tracker.training.store import StateStore
from tracker.training.trial import build_classifier, build_optimizer, run_epochs
from tracker.vision.sources import random_source


@pytest.mark.parametrize(
    ("optimizer", "tune"), [("adam", "full"), ("adam", "head"), ("adamw", "head"), ("sgd", "head")]
)
def test_stopped_twice_and_killed_once_a_trial_ends_with_the_same_bits(
    optimizer: str, tune: str, tmp_path: Path
) -> None:
    """Stopped after an epoch and inside one, then killed inside another: each time new objects go on from files."""
    recipe, images = short_recipe(optimizer=optimizer, tune=tune, weight_decay=0.01), few_images(8)
    after_epoch, _ = attempt(recipe, images, tmp_path, asked_at(STEPS))
    assert (after_epoch.position.epoch, after_epoch.position.step) == (1, 0)
    inside, _ = attempt(recipe, images, tmp_path, asked_at(2))
    assert (inside.position.epoch, inside.position.step) == (1, 2)
    with pytest.raises(Killed):
        attempt(recipe, images, tmp_path, asked_at(3, Killed))
    newest = StateStore(tmp_path, {"model": recipe.model}).newest()
    assert newest is not None
    assert newest.name.startswith("state-000002-000000-")
    assert_same_bits(attempt(recipe, images, tmp_path), undisturbed(recipe, images))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_each_optimizer_goes_on_in_the_middle_of_an_epoch(optimizer: str, tmp_path: Path) -> None:
    """What an optimizer remembers of every weight is kept whole."""
    recipe, images = short_recipe(optimizer=optimizer, weight_decay=0.01, epochs=1), few_images(8)
    attempt(recipe, images, tmp_path, asked_at(2))
    assert_same_bits(attempt(recipe, images, tmp_path), undisturbed(recipe, images))


def test_stopped_after_every_step_a_trial_with_dropout_ends_with_the_same_bits(tmp_path: Path) -> None:
    """One step an attempt: dropout's generator goes on where it was, inside an epoch too."""
    recipe, images = short_recipe("mobilenet_v3_small", epochs=2), few_images(32)
    places = []
    for _ in range(2 * STEPS):
        state, _ = attempt(recipe, images, tmp_path, asked_at(1))
        places.append((state.position.epoch, state.position.step))
    assert places == [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
    assert_same_bits(attempt(recipe, images, tmp_path), undisturbed(recipe, images))


def test_without_the_generators_state_the_bits_would_differ() -> None:
    """What the test above relies on: this network draws from the generator at every step."""
    recipe, images = short_recipe("mobilenet_v3_small", epochs=1), few_images(32)
    losses = []
    for forget in (False, True):
        classifier, position = build_classifier(recipe, images, random_source(recipe.model)), Position()
        optimizer = build_optimizer(recipe, classifier)
        data = trial_data(recipe, images, CPU)
        with pytest.raises(Stopped):
            next(run_epochs(recipe, classifier, data, CPU, asked_at(1), optimizer=optimizer, position=position))
        position.random = {} if forget else position.random
        result = next(run_epochs(recipe, classifier, data, CPU, optimizer=optimizer, position=position))
        losses.append(result.metrics["train_loss"])
    assert losses[0] != losses[1]


@pytest.mark.parametrize(
    ("model", "size", "optimizer"), [("resnet18", 8, "sgd"), ("resnet18", 8, "adamw"), ("densenet121", 32, "adam")]
)
def test_stopped_before_every_step_the_same_objects_go_on_with_the_same_bits(
    model: str, size: int, optimizer: str
) -> None:
    """Classifier, optimizer and position are all that has to be kept; `stop` is asked before each step."""
    recipe, images = short_recipe(model, epochs=2, optimizer=optimizer), few_images(size)
    classifier, state = build_classifier(recipe, images, random_source(model)), TrialState()
    learner, data = build_optimizer(recipe, classifier), trial_data(recipe, images, CPU)
    stops = 0
    while state.position.epoch < recipe.epochs:
        try:
            for result in run_epochs(
                *(recipe, classifier, data, CPU, asked_at(1)), optimizer=learner, position=state.position
            ):
                state.add(result, classifier, moment_ms=0)
        except Stopped:
            stops += 1
    assert stops == 2 * STEPS - 1
    assert_same_bits((state, classifier), undisturbed(recipe, images))


@pytest.mark.parametrize(
    ("fault", "durable"),
    [
        ("best-written=kill", None),
        ("state-written=kill", (1, 0)),
        ("epoch-trained=kill@2", (1, 0)),
        ("stepped=kill@8", (2, 0)),
    ],
)
def test_killed_for_real_a_trial_goes_on_from_its_last_durable_epoch(
    fault: str, durable: tuple[int, int] | None, tmp_path: Path
) -> None:
    """SIGKILL between any two writes: what was durable is found, and the end is the same."""
    recipe, images = short_recipe(tune="head"), few_images(8)
    # A server that has run nothing of torch's threads can be forked; this process has.
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["tests.training.attempts"])
    child = server.Process(target=attempt_with_fault, args=(fault, recipe, images, tmp_path))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    found = StateStore(tmp_path, {"model": recipe.model}).load(classifier, build_optimizer(recipe, classifier))
    assert found.problems == ()
    assert durable == (None if found.state is None else (found.state.position.epoch, found.state.position.step))
    assert_same_bits(attempt(recipe, images, tmp_path), undisturbed(recipe, images))
    assert len(list(tmp_path.glob("best-*"))) <= 2


def test_the_seconds_of_a_split_epoch_are_those_of_all_its_parts() -> None:
    """An epoch that was stopped says how long it took, not how long its last part took."""
    recipe, images = short_recipe(tune="head"), few_images(8)
    classifier, position = build_classifier(recipe, images, random_source(recipe.model)), Position()
    data = trial_data(recipe, images, CPU)
    with pytest.raises(Stopped):
        next(run_epochs(recipe, classifier, data, CPU, asked_at(1), position=position))
    assert 0 < position.seconds < 60
    position.seconds += 1000
    metrics = next(run_epochs(recipe, classifier, data, CPU, position=position)).metrics
    assert 1000 < metrics["epoch_seconds"] < 1120
    assert metrics["images_per_second"] < len(data.train) / 1000
    assert position == Position(epoch=1, selection=position.selection)


def test_a_loss_that_is_not_finite_is_not_kept_as_a_position() -> None:
    """Stopped in the middle of an epoch that is lost already, a trial fails at once."""
    recipe, images = short_recipe(tune="head"), few_images(8)
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    with torch.no_grad():
        classifier.head.weight.fill_(float("nan"))  # type: ignore[operator, union-attr]
    with pytest.raises(NotFinite, match="train_loss is nan from step 0 of epoch 0 on"):
        next(run_epochs(recipe, classifier, trial_data(recipe, images, CPU), CPU, asked_at(1)))


def test_a_finished_trial_trains_no_more(tmp_path: Path) -> None:
    """From a position after the last epoch there is nothing to do."""
    recipe, images = short_recipe(tune="head", epochs=1), few_images(8)
    first = attempt(recipe, images, tmp_path)
    assert_same_bits(attempt(recipe, images, tmp_path, asked_at(0)), first)
