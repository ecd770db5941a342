"""How fast this machine trains this network on these images: measured, not guessed."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from tracker.study.errors import DiskFull
from tracker.study.home import Home
from tracker.study.recipe import Recipe
from tracker.sweep.sizes import GENERATIONS, finished_bytes, running_bytes
from tracker.training.device import threads_of
from tracker.training.execution import prepare, usual_execution
from tracker.training.splits import TrialData, to_device
from tracker.training.trial import build_classifier, run_epochs
from tracker.vision.images import ImageSet, Split
from tracker.vision.sources import Source

CELL_SECONDS = 2.5
"""What a run takes beside its epochs: claim, network, figures, files. On the safe side: on two busy CPU cores runs of
mobilenet_v3_small, four epochs on 48 images, took 2 to 3 s in all."""

TIMED_BATCHES = 3
LONG_SECONDS = 5.0
"""A first epoch that took so long is not repeated: that it was the first then hardly matters."""


@dataclass(frozen=True)
class Pace:
    """What a run will cost.

    Args:
        train: seconds an image and epoch, forward, backward and step.
        test: seconds an image and epoch, forward.
        state: seconds to make an epoch durable, done while the next one is trained.
    """

    train: float
    test: float
    state: float = 0.0

    def cell_seconds(self, epochs: int, train: int, test: int) -> float:
        """Return what a run of so many epochs on so many images takes, at most: short epochs may share a state."""
        epoch = self.train * train + self.test * test
        return CELL_SECONDS + epoch + (epochs - 1) * max(epoch, self.state) + self.state


def measure_pace(recipe: Recipe, images: ImageSet, channels: int, home: Home, device: torch.device) -> Pace:
    """Train a few batches of the real thing, and write a state as large as the real ones.

    Args:
        recipe: what is to be run; batch size and what is tuned count, weights do not.
        channels: C of the network.

    Raises:
        RuntimeError, ValueError: the network cannot take the images.

    Writes: a file under `home.work`, removed again.
    """
    count = TIMED_BATCHES * recipe.batch_size
    train, test = _first(images.train, count), _first(images.test, count)
    data = TrialData(to_device(train, device), None, to_device(test, device), np.arange(len(test)))
    timed = recipe.model_copy(update={"normalization": "minmax", "epochs": 2})
    threads = torch.get_num_threads()
    torch.set_num_threads(threads_of(1))  # as many as a worker has
    try:
        classifier = build_classifier(timed, images, Source("random", recipe.model, channels, None, None, "random"))
        execution = usual_execution(device)
        prepare(classifier, device, execution, recipe.precision)
        for result in run_epochs(timed, classifier, data, device, execution=execution):
            seconds = result.metrics["epoch_seconds"]
            training = len(train) / result.metrics["images_per_second"]
            if seconds > LONG_SECONDS:
                break
    finally:
        torch.set_num_threads(threads)
    return Pace(
        train=training / len(train),
        test=max(seconds - training, 0.0) / len(test),
        state=_state_seconds(recipe, home),
    )


def _first(split: Split, count: int) -> Split:
    return split.take(np.arange(min(count, len(split))))


def _state_seconds(recipe: Recipe, home: Home) -> float:
    """Write as many bytes as a training state of this recipe has, and read them back, as a worker does."""
    size = (running_bytes(recipe, "none") - finished_bytes(recipe, "none")) // GENERATIONS
    if not size:
        return 0.0
    with home.scratch("pace") as folder:
        path = folder / "state.safetensors"
        tensors = {"bytes": torch.zeros(size, dtype=torch.uint8)}
        started = time.monotonic()
        try:
            save_file(tensors, path)
            with path.open("rb") as file:
                os.fsync(file.fileno())
                hashlib.file_digest(file, "sha256")
        except (OSError, SafetensorError) as error:
            raise DiskFull(
                f"{path}: a training state of {size / 1e6:,.0f} MB cannot be written: {error}",
                "free some space, or another place: --home DIR",
            ) from error
        return time.monotonic() - started
