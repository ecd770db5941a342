"""From an image set to what a trial trains, chooses and tests on, on the device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tracker.study.recipe import Recipe
from tracker.study.seeds import Purpose, derive_seed
from tracker.vision.images import ImageSet, Split

SPLIT_SEED = 0
"""Validation and limited splits are the same for every seed of a study: seeds vary the training, not the data."""


@dataclass(frozen=True)
class DeviceSplit:
    """A split on the device: uint8 images (N, C, H, W), int64 labels (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class TrialData:
    """What one trial sees.

    Args:
        val: None where `val_fraction` is 0.
        train_index, test_index: int64, positions in the image set's splits; they name the images behind a prediction.
    """

    train: DeviceSplit
    val: DeviceSplit | None
    test: DeviceSplit
    test_index: np.ndarray


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


def trial_data(recipe: Recipe, images: ImageSet, device: torch.device) -> TrialData:
    """Prepare a trial's splits on the device."""
    train, val, test, test_index = take_splits(recipe, images)
    return TrialData(
        train=to_device(train, device),
        val=None if val is None else to_device(val, device),
        test=to_device(test, device),
        test_index=test_index,
    )
