"""What a reader gives: two splits whose images come block by block, and what it needs on disk for that."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tracker.study.errors import DataError, DataMissing
from tracker.study.printing import printable
from tracker.study.recipe import DatasetSpec
from tracker.study.seeds import derive_seed
from tracker.vision.fetch import Download
from tracker.vision.progress import Progress
from tracker.vision.readers.pixels import fit_array

BLOCK, BLOCK_BYTES = 512, 32 << 20
"""Images handed over at once: 512, or fewer if they are large, so memory stays bounded."""


@dataclass(frozen=True)
class RawSplit:
    """The images of a split before they are packed.

    Args:
        labels: int64, (N,).
        shape: (C, H, W) of every image.
        blocks: gives uint8, (n, C, H, W), in the order of the labels, N in all; can be asked once.
    """

    labels: np.ndarray
    shape: tuple[int, int, int]
    blocks: Callable[[], Iterable[np.ndarray]]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class RawSet:
    """A dataset as its reader found it.

    Args:
        classes: K names, in the order of the labels.
        origin: plain JSON values that tell where the images come from; where they differ from those
            of the packed form, the images are packed again.
        skipped: files passed over, since they are hidden, no images, or (`unreadable: skip`) cannot be read.
    """

    train: RawSplit
    test: RawSplit
    classes: tuple[str, ...]
    origin: dict[str, Any] = field(default_factory=dict)
    skipped: int = 0


@dataclass(frozen=True)
class RawFile:
    """A file that must be there, as it was published.

    Args:
        path: relative to the dataset's raw folder.
        md5: 32 hex digits.
    """

    path: str
    md5: str


@dataclass(frozen=True)
class Facts:
    """A dataset's sizes.

    Args:
        train, test, classes: counts.
        shape: (C, H, W).
    """

    train: int
    test: int
    classes: int
    shape: tuple[int, int, int]


class Reader:
    """One kind of dataset: what it needs on disk, and how that becomes images.

    The raw folder is the kind's own, `raw/KIND` under the home's data folder. Files and downloads
    are asked for at each use, never kept.
    """

    takes: tuple[str, ...] = ()
    """For a package's reader: keys of a `DatasetSpec` it heeds, of path, classes, test_fraction, split_seed."""
    needs: tuple[str, ...] = ()
    """For a package's reader: those of them that must be given."""

    def files(self) -> tuple[RawFile, ...]:
        """Return the files that reading needs; none for what needs no download."""
        return ()

    def downloads(self) -> tuple[Download, ...]:
        """Return what brings those files."""
        return ()

    def unpack(self, raw: Path) -> None:
        """Turn what was downloaded into `files()`.

        Raises:
            DataDamaged: an archive cannot be read, or would write outside `raw`.
        """

    def facts(self, spec: DatasetSpec) -> Facts | None:
        """Return what the packed images will be, where that is known before they are read."""
        return None

    def origin(self, name: str, spec: DatasetSpec) -> dict[str, Any]:
        """Return what tells today's raw images from those packed earlier; {} where they never change."""
        return {}

    def read(self, name: str, spec: DatasetSpec, raw: Path, progress: Progress) -> RawSet:
        """Read the dataset.

        Args:
            name: as in the study; for messages.
            raw: the kind's raw folder.

        Raises:
            DataError: the images cannot be used as they are, or not with this `spec`.
            DataDamaged: files are truncated or altered.
        """
        raise NotImplementedError


def folder_path(spec: DatasetSpec) -> Path:
    """Return where the spec says the images lie: absolute, one folder under one name."""
    assert spec.path is not None  # the spec's own rule for kind folder
    try:
        return Path(spec.path).expanduser().resolve()
    except (RuntimeError, ValueError) as error:  # a link to itself, no such user, a zero byte
        raise DataMissing(f"{printable(spec.path)}: is no folder: {printable(str(error))}") from error


def asked_shape(spec: DatasetSpec, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return (C, H, W) as the spec asks for it, else `shape`."""
    channels, height, width = shape
    return spec.channels or channels, spec.image_size or height, spec.image_size or width


def block_size(shape: tuple[int, int, int]) -> int:
    """Return how many images of (C, H, W) make a block."""
    return max(1, min(BLOCK, BLOCK_BYTES // math.prod(shape)))


def split_from_arrays(images: np.ndarray, labels: np.ndarray, spec: DatasetSpec) -> RawSplit:
    """Make a split of images that are decoded already, with the channels and size the spec asks for.

    Args:
        images: uint8, (N, C, H, W), any strides.
        labels: integers, (N,).
    """
    stored = (images.shape[1], images.shape[2], images.shape[3])
    shape = asked_shape(spec, stored)

    def blocks() -> Iterator[np.ndarray]:
        size = block_size(shape)
        for first in range(0, len(images), size):
            block = images[first : first + size]
            if shape != stored:
                block = np.stack([fit_array(image, shape[0], spec.image_size) for image in block])
            yield np.ascontiguousarray(block)

    return RawSplit(np.asarray(labels, dtype=np.int64), shape, blocks)


def held_out(labels: np.ndarray, fraction: float, seed: int, classes: Sequence[str]) -> np.ndarray:
    """Choose the test images of a dataset that has no split of its own: the same share of every class.

    A class is split the same way whatever other classes there are.

    Args:
        labels: int64, (N,).
        fraction: of each class, rounded; at least one image stays on either side.
        seed: the spec's `split_seed`.
        classes: K names, in the order of the labels.

    Returns:
        bool, (N,): true for test.

    Raises:
        DataError: a class with fewer than two images.
    """
    test = np.zeros(len(labels), dtype=bool)
    for label, name in enumerate(classes):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise DataError(
                f"class {name!r} has {len(members)} image{'s' * (len(members) != 1)}, too few to split",
                "every class needs two: one to train on, one to test on",
            )
        generator = np.random.default_rng([derive_seed(seed, "split"), *os.fsencode(name)])
        test[generator.permutation(members)[: held_out_count(len(members), fraction)]] = True
    return test


def held_out_count(members: int, fraction: float) -> int:
    """Return how many images of a class of `members`, two at least, are for test."""
    return min(max(round(members * fraction), 1), members - 1)
