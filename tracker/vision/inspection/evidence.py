"""What all images of a folder are, one by one and together: what the rules judge."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tracker.study.printing import printable
from tracker.study.recipe import DatasetSpec
from tracker.vision.images import Statistics
from tracker.vision.inspection.look import Look, look_at
from tracker.vision.progress import Progress
from tracker.vision.readers.decoding import Unreadable, attempt_each
from tracker.vision.readers.folder import TEST_FRACTION
from tracker.vision.readers.pixels import size_and_gray
from tracker.vision.readers.raw import held_out
from tracker.vision.readers.scanning import Scan
from tracker.vision.statistics import statistics_of_sums

LARGEST_SIDE, SMALLEST_SIDE = 64, 32
"""Between which a size is suggested: beyond 64 a short study on a CPU is no longer short; below 32 a DenseNet has no
pixel left after its last pooling."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Picture:
    """A readable image.

    Args:
        path: as on disk.
        split: the folder's own, empty where it has none.
        label: its class folder's name.
        folder: the path below that folder, without the file's name; empty for most.
    """

    path: str
    split: str
    label: str
    folder: str


@dataclass(frozen=True)
class Evidence:
    """All that is known of a folder.

    Args:
        classes: names, in the order of the labels.
        pictures, looks: of the readable images, in one order, (N,).
        test: (N,), true for test images.
        image_size: pixels a side as stored.
        channels: 1 or 3, as stored.
        unreadable: names as on disk.
    """

    scan: Scan
    spec: DatasetSpec
    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    looks: tuple[Look, ...]
    test: Bools
    image_size: int
    channels: int
    unreadable: tuple[Unreadable, ...]

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def split(self) -> Literal["own", "seeded"]:
        """Whether the folder has train/ and test/."""
        return "seeded" if "" in self.scan.splits else "own"

    @cached_property
    def counts(self) -> dict[str, tuple[int, int]]:
        """How many (training, test) images each class has."""
        found = Counter((picture.label, bool(held)) for picture, held in zip(self.pictures, self.test, strict=True))
        return {label: (found[label, False], found[label, True]) for label in self.classes}

    @cached_property
    def statistics(self) -> Statistics | None:
        """Exact statistics of the stored training images, as packing them gives; None where there are none."""
        chosen = [look for look, held in zip(self.looks, self.test, strict=True) if not held]
        pixels = len(chosen) * self.image_size**2
        if not pixels:
            return None
        return statistics_of_sums(
            (pixels, sum(look.totals[channel] for look in chosen), sum(look.squares[channel] for look in chosen))
            for channel in range(self.channels)
        )

    @cached_property
    def levels(self) -> NDArray[np.float64]:
        """Mean of each stored image's channels, in [0, 1]; (N, C)."""
        totals = np.array([look.totals[: self.channels] for look in self.looks], dtype=np.float64)
        return totals.reshape(len(self), self.channels) / (255 * self.image_size**2)

    def where(self, met: Callable[[Look], bool]) -> list[str]:
        """Return the printable paths of the images whose look meets a condition."""
        return [self.shown(picture.path) for picture, look in zip(self.pictures, self.looks, strict=True) if met(look)]

    def shown(self, path: str) -> str:
        """Return a path relative to the folder, printable."""
        return printable(os.path.relpath(path, self.scan.root))


def suggested_image_size(sizes: Sequence[tuple[int, int]]) -> int:
    """Return the pixels a side to store images of different sizes at: small enough to train on in minutes.

    It is the shorter side of the median image, but between 32 and 64: images that are all 32x32 stay as they are, a
    few odd ones decide nothing, and no photograph is stored larger than 64. A study on a GPU may want more.

    Args:
        sizes: (width, height) of every image, at least one.
    """
    shorter = sorted(min(size) for size in sizes)
    return min(max(shorter[len(shorter) // 2], SMALLEST_SIDE), LARGEST_SIDE)


def gather(scan: Scan, spec: DatasetSpec, progress: Progress) -> Evidence:
    """Decode every image of a folder once and keep what the rules need; no image stays in memory.

    The headers are read first, since they decide how all images are stored.

    Args:
        spec: what it says of classes, channels, size and split holds here too.
    """
    classes = tuple(str(label) for label in spec.classes or scan.classes())
    pictures = {
        path: _picture(path, split, label, scan.root)
        for split, found in scan.splits.items()
        for label in classes
        for path in found.get(label, ())
    }
    sizes: list[tuple[int, int]] = []
    grays: list[bool] = []
    unreadable: list[Unreadable] = []
    for headers in attempt_each(list(pictures), size_and_gray, task="read headers", progress=progress):
        for header in headers:
            if isinstance(header, Unreadable):
                unreadable.append(header)
            else:
                sizes.append(header[0])
                grays.append(header[1])
    failed = {failure.name for failure in unreadable}
    paths = [path for path in pictures if path not in failed]
    channels = spec.channels or (1 if grays and all(grays) else 3)
    size = spec.image_size or (suggested_image_size(sizes) if sizes else SMALLEST_SIDE)
    looks: dict[str, Look] = {}
    names = iter(paths)
    work = partial(look_at, channels=channels, image_size=size)
    for results in attempt_each(paths, work, task="look at images", progress=progress):
        for result in results:
            path = next(names)
            if isinstance(result, Unreadable):
                unreadable.append(result)
            else:
                looks[path] = result
    readable = tuple(pictures[path] for path in looks)
    if spec.channels is None and looks and all(look.gray_file for look in looks.values()):
        channels = 1  # also where the one file in colour has a whole header and no pixels
    return Evidence(
        scan=scan,
        spec=spec,
        classes=classes,
        pictures=readable,
        looks=tuple(looks.values()),
        test=_test_images(readable, classes, spec),
        image_size=size,
        channels=channels,
        unreadable=tuple(unreadable),
    )


def _picture(path: str, split: str, label: str, root: Path) -> Picture:
    below = Path(path).relative_to(root / split / label).parent
    return Picture(path, split, label, "" if below == Path() else str(below))


def _test_images(pictures: Sequence[Picture], classes: Sequence[str], spec: DatasetSpec) -> Bools:
    """Return which images are for test: by their folder, else as the reader will split them.

    Returns:
        (N,); a class with a single image has it in training, where the reader refuses.
    """
    test = np.array([picture.split == "test" for picture in pictures], dtype=bool)
    for label in classes:
        members = np.array([n for n, each in enumerate(pictures) if each.label == label and not each.split], dtype=int)
        if len(members) > 1:
            fraction = spec.test_fraction or TEST_FRACTION
            test[members] = held_out(np.zeros(len(members), dtype=np.int64), fraction, spec.split_seed, (label,))
    return test
