"""Carry out a recipe's `shift` on an image set: its raw bytes as another sensor would have given them.

What comes out is an image set like any other: the values are bytes again (rounded, and clipped
where the sensor saturates), and its statistics are its own.
"""

from __future__ import annotations

import hashlib

import numpy as np

from tracker.study.errors import DataError
from tracker.study.home import Home
from tracker.study.recipe import DatasetSpec, Recipe
from tracker.study.shifts import AS_IS, ShiftStep, parse_shift
from tracker.vision.datasets import open_dataset
from tracker.vision.images import ImageSet, Split
from tracker.vision.progress import Progress, silent
from tracker.vision.statistics import histogram, statistics_of


def open_shifted(
    recipe: Recipe, spec: DatasetSpec, home: Home, *, verify: bool = False, progress: Progress = silent
) -> ImageSet:
    """Open a recipe's dataset with the recipe's shift done.

    Raises:
        DataError: as `open_dataset` and `apply_shift`.

    Writes: the packed folder, as `open_dataset`.
    """
    return apply_shift(open_dataset(recipe.dataset, spec, home, verify=verify, progress=progress), recipe.shift)


def apply_shift(images: ImageSet, shift: str) -> ImageSet:
    """Do a shift to both splits of an image set, in memory.

    Args:
        shift: as in a recipe; `as-is` gives `images` back.

    Returns:
        A set of the same shape, with statistics and a fingerprint of its own.

    Raises:
        DataError: a step has another number of channels than the images, or a frame leaves nothing of them.
    """
    if shift == AS_IS:
        return images
    steps = parse_shift(shift)
    train = Split(shifted_bytes(images.train.images, steps, images.name), images.train.labels)
    test = Split(shifted_bytes(images.test.images, steps, images.name), images.test.labels)
    return ImageSet(
        name=images.name,
        train=train,
        test=test,
        classes=images.classes,
        statistics=statistics_of(histogram(train.images)),
        fingerprint=hashlib.sha256(f"{images.fingerprint} {shift}".encode()).hexdigest()[:16],
    )


def shifted_bytes(images: np.ndarray, steps: tuple[ShiftStep, ...], name: str) -> np.ndarray:
    """Return uint8, (N, C, H, W), from uint8 of that shape; `name` is for messages.

    Values between the steps are not rounded or clipped: a sensor has its gain and offset before it counts.
    """
    channels, size = images.shape[1], images.shape[2]
    # What becomes of each byte in each channel, and of a pixel painted black; in units of the full range.
    levels = np.tile(np.arange(256) / 255, (channels, 1))  # (C, 256)
    black = np.zeros(channels)
    frame = 0
    for step in steps:
        values = np.array(step.values) if step.values else np.zeros(1)
        if len(values) not in (1, channels):
            raise DataError(
                f"dataset {name} has {channels} channel{'s' * (channels != 1)}, its shift's {step.kind} {len(values)}",
                "one number for all channels, or one for each",
            )
        match step.kind:
            case "gain":
                levels, black = levels * values[:, None], black * values
            case "offset":
                levels, black = levels + values[:, None], black + values
            case "invert":
                levels, black = 1 - levels, 1 - black
            case "frame":
                width = int(values[0])
                if 2 * width >= size:
                    raise DataError(
                        f"dataset {name} is {size} x {size}: a frame of {width} pixels leaves nothing of it",
                        f"at most {(size - 1) // 2}",
                    )
                frame, black = width, np.zeros(channels)
    table = _bytes_of(levels)
    found = np.stack([table[channel][images[:, channel]] for channel in range(channels)], axis=1)  # (N, C, H, W)
    if frame:
        painted = np.broadcast_to(_bytes_of(black)[:, None, None], found.shape[1:])
        inside = np.zeros(found.shape[2:], dtype=bool)
        inside[frame:-frame, frame:-frame] = True
        found = np.where(inside, found, painted)
    return np.ascontiguousarray(found)


def _bytes_of(levels: np.ndarray) -> np.ndarray:
    """Round to bytes, half to even, and clip."""
    found: np.ndarray = np.clip(np.rint(levels * 255), 0, 255).astype(np.uint8)
    return found
