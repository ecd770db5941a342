"""What an image set is once decoded.

Shape letters, here and everywhere: N images, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Args:
        images: uint8, (N, C, H, W); usually a memory map opened copy-on-write.
        labels: int64, (N,), values in [0, K).
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray) -> Split:
        """Return the images at `index` (int64, (M,)), in that order, as a copy."""
        return Split(np.ascontiguousarray(self.images[index]), self.labels[index])


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each channel, of values in [0, 1].

    Args:
        mean: (C,).
        std: (C,), the population standard deviation over all pixels.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def channels(self) -> int:
        """C: 1 or 3."""
        return len(self.mean)


@dataclass(frozen=True)
class ImageSet:
    """A dataset, decoded.

    Args:
        name: as in the study.
        train: training images; a validation split is taken from these.
        test: test images.
        classes: K names, in the order of the labels.
        statistics: exact, of the whole training split.
        fingerprint: 16 hex digits of the SHA-256 of the four packed arrays; equal content, equal fingerprint.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    statistics: Statistics
    fingerprint: str

    @property
    def channels(self) -> int:
        """C: 1 or 3."""
        return int(self.train.images.shape[1])

    @property
    def image_size(self) -> int:
        """H, equal to W."""
        return int(self.train.images.shape[2])
