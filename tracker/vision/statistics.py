"""Channel statistics: exact, from 256-bin histograms of integers.

Histograms of parts add up to the histogram of the whole, in any order, without rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from tracker.study.errors import DataError
from tracker.vision.images import Statistics

CHUNK_PIXELS = 1 << 22
"""Pixels counted at once: bincount widens each to 8 bytes, so 32 MiB."""

PUBLISHED: dict[str, Statistics] = {
    "imagenet": Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": Statistics((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": Statistics((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "svhn": Statistics((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "tiny-imagenet-200": Statistics((0.4802, 0.4481, 0.3975), (0.2764, 0.2689, 0.2816)),
}
"""As the reference study and torchvision's weights have them, in RGB order."""


def histogram(images: np.ndarray) -> np.ndarray:
    """Count how often each channel takes each value.

    Args:
        images: uint8, (N, C, H, W).

    Returns:
        int64, (C, 256).

    Raises:
        ValueError: another dtype or number of dimensions.
    """
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(f"images are {images.dtype} with {images.ndim} dimensions, not uint8 (N, C, H, W)")
    count, channels, height, width = images.shape
    counts = np.zeros((channels, 256), dtype=np.int64)
    step = max(1, CHUNK_PIXELS // max(1, height * width))
    for first in range(0, count, step):
        for channel in range(channels):
            pixels = images[first : first + step, channel].ravel()  # (n * H * W,)
            counts[channel] += np.bincount(pixels, minlength=256)
    return counts


def statistics_of(histogram: np.ndarray) -> Statistics:
    """Compute mean and population standard deviation from counts, rounded once, at the end.

    Args:
        histogram: integers, (C, 256), every channel with at least one pixel.

    Raises:
        ValueError: a channel without pixels.
    """
    sums = []
    for channel in histogram.tolist():  # Python integers neither overflow nor round
        total = sum(value * count for value, count in enumerate(channel))
        squares = sum(value * value * count for value, count in enumerate(channel))
        sums.append((sum(channel), total, squares))
    return statistics_of_sums(sums)


def statistics_of_sums(sums: Iterable[tuple[int, int, int]]) -> Statistics:
    """Compute mean and population standard deviation from exact sums, rounded once, at the end.

    Args:
        sums: of each channel, how many pixels it has, the sum of their bytes, and that of their squares.

    Raises:
        ValueError: a channel without pixels.
    """
    means, stds = [], []
    for pixels, total, squares in sums:
        if not pixels:
            raise ValueError("a channel without pixels has no statistics")
        means.append(float(Fraction(total, 255 * pixels)))
        stds.append(math.sqrt(Fraction(pixels * squares - total * total, (255 * pixels) ** 2)))
    return Statistics(tuple(means), tuple(stds))


def published_statistics(name: str) -> Statistics:
    """Return a dataset's published statistics.

    Raises:
        DataError: none are published.
    """
    if name not in PUBLISHED:
        raise DataError(
            f"dataset {name!r} has no published statistics; {', '.join(PUBLISHED)} have",
            "use its exact ones: `statistics: exact` in the recipe",
        )
    return PUBLISHED[name]


def shifted(target: Statistics, source: Statistics) -> Statistics:
    """Return what `target`'s statistics become under the z-score of `source`.

    Images as the source's come out with mean 0 and deviation 1. A single channel stands for
    all of the other side's.

    Raises:
        ValueError: channels that do not fit, or a source's deviation of 0.

    Source: the reference study's Table 1.
    """
    channels = max(target.channels, source.channels)
    if {target.channels, source.channels} - {1, channels}:
        raise ValueError(f"{target.channels} channels do not go with {source.channels}")
    if min(source.std) <= 0:
        raise ValueError("a source's standard deviation is 0")
    own, base = repeated(target, channels), repeated(source, channels)
    return Statistics(
        tuple((m - m0) / s0 for m, m0, s0 in zip(own.mean, base.mean, base.std, strict=True)),
        tuple(s / s0 for s, s0 in zip(own.std, base.std, strict=True)),
    )


def repeated(statistics: Statistics, channels: int) -> Statistics:
    """Return `statistics` with its single channel repeated, or as it is if it has `channels` already."""
    times = channels // statistics.channels
    return Statistics(statistics.mean * times, statistics.std * times)
