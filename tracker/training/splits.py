"""From an image set to what a trial trains, chooses and tests on, on the device."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tracker.study.recipe import Recipe
from tracker.study.seeds import Purpose, derive_seed
from tracker.training.device import is_out_of_memory
from tracker.training.staging import staged
from tracker.vision.augmentation import EpochPlan
from tracker.vision.images import ImageSet, Split

SPLIT_SEED = 0
"""Validation and limited splits are the same for every seed of a study: seeds vary the training, not the data."""


KEPT_FREE = 0.25
"""Share of a device's memory that images leave to the training."""
FEW = 64
"""Images of a streamed split that lie on the device all the same: for their shape, and for checks."""


@dataclass(frozen=True)
class DeviceSplit:
    """A split on the device: uint8 images (N, C, H, W), int64 labels (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def drawn(
        self, plan: EpochPlan, batch_size: int, step: int = 0
    ) -> Generator[tuple[DeviceSplit, EpochPlan], None, None]:
        """Yield an epoch's batches: images on the device, and the part of the plan that names the batch's among them.

        Args:
            plan: of the whole epoch, on the CPU.
            step: the first batch to yield, counted from 0.
        """
        here = plan.to(self.labels.device)
        for first in range(step * batch_size, len(plan), batch_size):
            yield self, here.batch(first, batch_size)

    def in_order(self, batch_size: int) -> Generator[DeviceSplit, None, None]:
        """Yield all images once, as they stand, a batch at a time."""
        for first in range(0, len(self), batch_size):
            place = slice(first, first + batch_size)
            yield DeviceSplit(self.images[place], self.labels[place])


@dataclass(frozen=True)
class StreamedSplit(DeviceSplit):
    """A split whose images come to the device a batch at a time; its labels are there.

    Args:
        images: the first few.
        source: all of them, on the CPU, as a rule in a memory map.
    """

    source: Tensor

    def drawn(
        self, plan: EpochPlan, batch_size: int, step: int = 0
    ) -> Generator[tuple[DeviceSplit, EpochPlan], None, None]:
        """Yield an epoch's batches, each with its own images only, in the plan's order."""
        here = plan.to(self.labels.device)
        own = torch.arange(batch_size, device=self.labels.device)
        places = range(step * batch_size, len(plan), batch_size)
        pieces = [plan.order[first : first + batch_size] for first in places]
        for first, images in zip(places, self._staged(pieces), strict=True):
            part = here.batch(first, batch_size)
            yield (
                DeviceSplit(images, self.labels[part.order]),
                EpochPlan(own[: len(part)], part.top, part.left, part.flip),
            )

    def in_order(self, batch_size: int) -> Generator[DeviceSplit, None, None]:
        """Yield all images once, as they stand, a batch at a time."""
        pieces = torch.arange(len(self)).split(batch_size)  # type: ignore[no-untyped-call]
        labels = self.labels.split(batch_size)  # type: ignore[no-untyped-call]
        for images, some in zip(self._staged(pieces), labels, strict=True):
            yield DeviceSplit(images, some)

    def _staged(self, pieces: Sequence[Tensor]) -> Generator[Tensor, None, None]:
        return staged(self.source, pieces, self.labels.device)


@dataclass(frozen=True)
class TrialData:
    """What one trial sees.

    Args:
        val: None where `val_fraction` is 0.
        test_index: int64, (N,), positions in the image set's test split; they name the images behind a prediction.
        notice: a sentence about images that do not lie on the device; None where all do.
    """

    train: DeviceSplit
    val: DeviceSplit | None
    test: DeviceSplit
    test_index: np.ndarray
    notice: str | None = None


def draw_by_class(labels: np.ndarray, count: int, *, purpose: Purpose) -> np.ndarray:
    """Draw `count` positions so that classes keep their shares (largest remainder), in ascending order.

    Args:
        labels: int64, (N,).
        count: at most N.
    """
    order = np.random.default_rng(derive_seed(SPLIT_SEED, purpose)).permutation(len(labels))
    by_class = [order[labels[order] == label] for label in range(int(labels.max()) + 1)]
    exact = np.array([len(members) for members in by_class]) * (count / len(labels))
    take = np.floor(exact).astype(np.int64)
    # Ties in the remainder go to the lower class; the sum is then `count` exactly.
    for label in np.argsort(-(exact - take), kind="stable")[: count - take.sum()]:
        take[label] += 1
    return np.sort(np.concatenate([members[:n] for members, n in zip(by_class, take, strict=True)]))


def split_sizes(recipe: Recipe, train: int, test: int) -> tuple[int, int, int]:
    """Return how many images are trained on, validated on and tested on, of a dataset's `train` and `test`."""
    kept = min(train, recipe.limit_train or train)
    val = round(kept * recipe.val_fraction)
    return kept - val, val, min(test, recipe.limit_test or test)


def take_splits(recipe: Recipe, images: ImageSet) -> tuple[Split, Split | None, Split, np.ndarray]:
    """Apply `limit_train`, `limit_test` and `val_fraction`; return train, val, test and the test positions."""
    train, test = images.train, images.test
    test_index = np.arange(len(test))
    _, n_val, n_test = split_sizes(recipe, len(train), len(test))
    if recipe.limit_train is not None and recipe.limit_train < len(train):
        train = train.take(draw_by_class(train.labels, recipe.limit_train, purpose="limit"))
    if n_test < len(test):
        test_index = draw_by_class(test.labels, n_test, purpose="limit")
        test = test.take(test_index)
    val = None
    if n_val:
        held_out = draw_by_class(train.labels, n_val, purpose="validation")
        val = train.take(held_out)
        train = train.take(np.setdiff1d(np.arange(len(train)), held_out))
    return train, val, test, test_index


def to_device(split: Split, device: torch.device) -> DeviceSplit:
    """Move a split to the device once, for all epochs."""
    return DeviceSplit(torch.from_numpy(split.images).to(device), torch.from_numpy(split.labels).to(device))


def bring(split: Split, device: torch.device, room: int | None) -> DeviceSplit:
    """Move a split to the device where there is room for it, else leave its images where they are.

    Args:
        room: bytes that it may take; None for any number.
    """
    if room is None or split.images.nbytes <= room:
        try:
            return to_device(split, device)
        except (MemoryError, RuntimeError) as error:  # others take memory too
            if device.type == "cpu" or not is_out_of_memory(error):
                raise
    source = torch.from_numpy(split.images)
    return StreamedSplit(source[:FEW].to(device), torch.from_numpy(split.labels).to(device), source)


def room_on(device: torch.device) -> int | None:
    """Return how many bytes images may take on a device now, the training's share left out; None on a CPU."""
    if device.type != "cuda":
        return None
    # What torch holds and does not use goes back to the driver, but for what belongs to a graph that may be replayed.
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    return max(0, free - int(KEPT_FREE * total))


def trial_data(recipe: Recipe, images: ImageSet, device: torch.device, room: int | None = None) -> TrialData:
    """Prepare a trial's splits: on the device, or streamed to it where there is no room for all.

    Args:
        room: bytes that images may take on the device; by default what `room_on` says.
    """
    train, val, test, test_index = take_splits(recipe, images)
    room = room_on(device) if room is None else room
    placed: list[DeviceSplit] = []
    for split in (train, test, *([] if val is None else [val])):
        placed.append(bring(split, device, room))
        if room is not None and not isinstance(placed[-1], StreamedSplit):
            room -= split.images.nbytes
    streamed = sum(split.source.nbytes for split in placed if isinstance(split, StreamedSplit))
    return TrialData(
        train=placed[0],
        val=None if val is None else placed[2],
        test=placed[1],
        test_index=test_index,
        notice=None
        if not streamed
        else f"{streamed / 1e9:,.1f} GB of {images.name} are read batch by batch: beside "
        f"the training {device} has no room for them",
    )
