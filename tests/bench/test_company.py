"""Trials side by side: each in a process of its own, all that counts in full company."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import pytest
import torch

from tracker.bench.company import memory_of, side_by_side
from tracker.bench.subject import EPOCHS, SHAPES, bare, make_recipe
from tracker.study.errors import TrainingError
from tracker.study.recipe import Recipe
from tracker.training.device import threads_of
from tracker.training.execution import PLAIN, usual_execution
from tracker.vision.stand_ins import Shape

CPU = torch.device("cpu")
SMALL = Shape(100, 20, 32, 10)
RECIPE = make_recipe("squeezenet1_1", "cifar10", 8)


def test_two_trials_train_side_by_side() -> None:
    """Both give a rate, over whole epochs; the total is theirs together, and a process's memory is megabytes."""
    found = side_by_side(RECIPE, SMALL, CPU, usual_execution(CPU), trials=2, threads=1, seconds=0.1)
    assert found.fits and found.reason is None
    assert len(found.rates) == 2 and all(rate > 0 for rate in found.rates)
    assert found.rate == sum(found.rates)
    assert found.peak_bytes is not None and 5e7 < found.peak_bytes < 5e9
    assert (found.trials, found.threads) == (2, 1)
    assert not multiprocessing.active_children()


def test_what_does_not_fit_is_no_crash() -> None:
    """Images that no machine has the memory for: no rate, and the allocator's own reason."""
    found = side_by_side(RECIPE, Shape(1, 1, 10**7, 10), CPU, PLAIN, trials=2)
    assert not found.fits and found.rate == 0 and found.peak_bytes is None
    assert found.reason is not None and "MemoryError" in found.reason
    assert found.threads == threads_of(2)
    assert memory_of(RECIPE, Shape(1, 1, 10**7, 10), CPU, PLAIN) is None


def test_a_trial_killed_for_memory_does_not_fit() -> None:
    """Linux ends a process that asks for too much with SIGKILL; the others are ended, and it is said."""

    def kill_one() -> None:
        while not (children := multiprocessing.active_children()):
            time.sleep(0.01)
        os.kill(children[0].pid or 0, signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    found = side_by_side(RECIPE, SMALL, CPU, PLAIN, trials=2, seconds=60)
    killer.join()
    assert found.reason is not None and "killed" in found.reason
    assert not multiprocessing.active_children()


def test_another_failure_is_told() -> None:
    """A network that cannot take images of one pixel has not run out of memory."""
    with pytest.raises(TrainingError, match="in company failed: RuntimeError"):
        side_by_side(RECIPE, Shape(1, 1, 1, 10), CPU, PLAIN, trials=1)


def test_a_recipe_is_measured_without_anything_of_its_study() -> None:
    """Weights, limits and shifts are left out; what decides time stays."""
    recipe = Recipe(
        model="squeezenet1_1", dataset="mine", normalization="pretrain", shift="gain=0.5", limit_train=7,
        val_fraction=0.5, batch_size=8, optimizer="sgd", tune="head", crop_padding=2,
    )  # fmt: skip
    measured = bare(recipe)
    assert (measured.epochs, measured.limit_train, measured.val_fraction) == (EPOCHS, None, 0.0)
    assert (measured.optimizer, measured.tune, measured.normalization) == ("sgd", "head", "pretrain")
    one_channel = Shape(1, 1, 32, 3, channels=1)
    assert side_by_side(recipe, one_channel, CPU, PLAIN, trials=1, batches=1, seconds=0.0).rate > 0


@pytest.mark.cuda
def test_trials_share_a_gpu() -> None:
    """Two of them, each with memory of its own on it."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device = torch.device("cuda", 0)
    found = side_by_side(RECIPE, SHAPES["cifar10"], device, PLAIN, trials=2, seconds=0.5)
    assert found.fits and found.peak_bytes is not None and found.peak_bytes > 1 << 20
