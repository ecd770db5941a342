"""scikit-learn's handwritten digits: 1,797 grayscale images of 8x8 pixels that come with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tracker.study.recipe import DatasetSpec
from tracker.vision.progress import Progress
from tracker.vision.readers.raw import (
    Facts,
    RawSet,
    RawSplit,
    Reader,
    asked_shape,
    held_out,
    held_out_count,
    split_from_arrays,
)

TEST_FRACTION = 1 / 3
CLASS_COUNTS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
LARGEST = 16
"""Pixels come as whole numbers from 0 to 16."""


class Digits(Reader):
    """Read the digits: all, or those named in `classes`, which also give the labels their order."""

    def facts(self, spec: DatasetSpec) -> Facts:
        """Return the sizes that follow from classes and split."""
        counts = [CLASS_COUNTS[int(digit)] for digit in spec.classes or range(10)]
        test = sum(held_out_count(count, spec.test_fraction or TEST_FRACTION) for count in counts)
        return Facts(sum(counts) - test, test, len(counts), asked_shape(spec, (1, 8, 8)))

    def read(self, name: str, spec: DatasetSpec, raw: Path, progress: Progress) -> RawSet:
        """Read them from the installed package."""
        from sklearn.datasets import load_digits  # a second, paid only where the digits are packed

        bunch = load_digits()
        images = np.rint(bunch.images * (255 / LARGEST)).astype(np.uint8)[:, None]  # (N, 1, 8, 8)
        kept = [int(digit) for digit in spec.classes or range(10)]
        names = tuple(str(digit) for digit in kept)
        label_of = np.full(10, -1, dtype=np.int64)
        label_of[kept] = np.arange(len(kept))
        labels = label_of[bunch.target]
        images, labels = images[labels >= 0], labels[labels >= 0]
        test = held_out(labels, spec.test_fraction or TEST_FRACTION, spec.split_seed, names)

        def split(chosen: np.ndarray) -> RawSplit:
            return split_from_arrays(images[chosen], labels[chosen], spec)

        return RawSet(split(~test), split(test), names)


READERS = {"digits": Digits()}
