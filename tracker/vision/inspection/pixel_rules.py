"""Rules on pixels: statistics that a normalization stumbles over, or that tell of a mistake."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from tracker.study.printing import printable
from tracker.study.wording import counted
from tracker.vision.images import Statistics
from tracker.vision.inspection.evidence import Evidence
from tracker.vision.inspection.findings import EXAMPLES, Finding, Kind

CHANNELS = {1: ("gray",), 3: ("red", "green", "blue")}

NEARLY_CONSTANT = 2 / 255
"""Deviation of a channel, of values in [0, 1], that a z-score divides by: two steps of a byte."""

DARK, BRIGHT = 0.1, 0.9
"""Mean of all channels. Of CIFAR-10, SVHN and ImageNet it is 0.45 to 0.47."""

FLAT = 0.05
"""Deviation of every channel below which contrast is low. Of those datasets it is 0.20 to 0.28."""

BLUER, TILTED, SURE, TOLD_BY = 0.01, 0.005, 4.0, 50
"""Channel order: how much bluer than red, how much less so above than below, in how many standard errors, and from how
many images in colour on."""

FAR_MEAN, FAR_STD = 0.5, 1.5
"""From which shift of the mean, and ratio of deviations, images are called far from the source's."""

ALL_GRAY_IN, NO_GRAY_IN, GRAY_TOLD_BY = 0.5, 0.05, 10
"""Shares of gray images in two classes of at least so many images between which gray gives the class away."""


def pixel_findings(evidence: Evidence, shift: Statistics | None) -> Iterator[Finding]:
    """Judge the statistics of the stored images.

    Args:
        shift: of the training images, in the source's deviations; None without a source.
    """
    statistics = evidence.statistics
    if statistics is None:
        return
    yield from _constant(statistics)
    yield from _blank(evidence)
    yield from _gray(evidence)
    yield from _channel_order(evidence, statistics)
    yield from _exposure(statistics)
    if shift is not None:
        yield from _far(shift)


def _constant(statistics: Statistics) -> Iterator[Finding]:
    names = CHANNELS[statistics.channels]
    dead = [name for name, std in zip(names, statistics.std, strict=True) if std == 0]
    if dead:
        yield Finding(
            "constant-channel",
            "error",
            f"{counted(len(dead), 'channel')} constant over all training images: no z-score can divide by 0",
            "look at how the images were made; `channels: 1` stores them as gray",
            tuple(dead),
            len(dead),
        )
    faint = [
        f"{name} ({std:.4f})" for name, std in zip(names, statistics.std, strict=True) if 0 < std < NEARLY_CONSTANT
    ]
    if faint:
        yield Finding(
            "constant-channel",
            "warning",
            f"{counted(len(faint), 'channel')} nearly constant, with a deviation below {NEARLY_CONSTANT:.4f}: "
            "a z-score with these statistics blows its noise up",
            "look at how the images were made; `channels: 1` stores them as gray",
            tuple(faint),
            len(faint),
        )


def _blank(evidence: Evidence) -> Iterator[Finding]:
    paths = evidence.where(lambda look: look.flat)
    if paths:
        yield Finding(
            "blank-images",
            "warning",
            f"{counted(len(paths), 'image')} of a single colour: `instance` makes them 0 everywhere",
            "remove them, unless that colour is what tells their class",
            tuple(paths[:EXAMPLES]),
            len(paths),
        )


def _gray(evidence: Evidence) -> Iterator[Finding]:
    """Yield what is gray among what is stored as RGB."""
    if evidence.channels == 1:
        return
    gray = np.array([look.gray for look in evidence.looks])
    paths = evidence.where(lambda look: look.gray)
    if gray.all():
        yield Finding(
            "gray-as-rgb",
            "warning",
            f"all {counted(len(paths), 'image')} are gray though stored as RGB: three equal channels, to each of which "
            "a source in colour applies other statistics",
            "`channels: 1` stores a third, and goes with a source of one channel; with a source in colour keep them",
            tuple(paths[:EXAMPLES]),
            len(paths),
        )
        return
    if not paths:
        return
    shares = _shares(evidence, gray)
    mixed = {label for label, share in shares.items() if share >= ALL_GRAY_IN}
    tells = mixed and min(shares.values()) <= NO_GRAY_IN
    yield Finding(
        "some-gray",
        "warning" if tells else "note",
        f"{counted(len(paths), 'image')} of {len(evidence):,} gray among others in colour"
        + (f", mostly of {', '.join(sorted(mixed)[:EXAMPLES])}: gray gives the class away" if tells else ""),
        "`channels: 1` makes all gray, if colour does not matter" if tells else "",
        tuple(paths[:EXAMPLES]),
        len(paths),
    )


def _shares(evidence: Evidence, gray: np.ndarray) -> dict[str, float]:
    """Return each class's share of gray images, for classes large enough to have one."""
    members = defaultdict(list)
    for picture, is_gray in zip(evidence.pictures, gray, strict=True):
        members[printable(picture.label)].append(bool(is_gray))
    return {label: sum(found) / len(found) for label, found in members.items() if len(found) >= GRAY_TOLD_BY}


def _channel_order(evidence: Evidence, statistics: Statistics) -> Iterator[Finding]:
    """Yield a hint where blue and red seem exchanged, as files written by a program that keeps BGR have them.

    Two signs of photographs must both be turned round. On the whole they are redder than blue; and with the sky
    above, their upper half is bluer, set against red, than their lower one. Either alone misleads: aeroplanes and ships
    are blue, and above a cat is as below. Of the 176 folders that one, two, three or all ten classes of CIFAR-10's test
    split make, this speaks of none as they are, and of 138 with the channels exchanged. Pictures that are no
    photographs, or are taken from above, can show both signs and be right; hence only a hint.
    """
    if evidence.channels == 1:
        return
    tilts = np.array([look.tilt for look in evidence.looks if not look.gray])
    bluer = statistics.mean[2] - statistics.mean[0]
    if len(tilts) < TOLD_BY or bluer < BLUER:
        return
    tilt, error = float(tilts.mean()), float(tilts.std(ddof=1)) / math.sqrt(len(tilts))
    if tilt > -TILTED or tilt > -SURE * error:
        return
    yield Finding(
        "channel-order",
        "warning",
        f"looks like blue and red exchanged (BGR): blue is {bluer:.3f} brighter than red, and less so in the upper "
        f"half of the images, by {-tilt:.3f}, where photographs have the sky",
        "look at a few images; OpenCV keeps BGR: cv2.imwrite takes cv2.cvtColor(image, cv2.COLOR_RGB2BGR)",
        (),
        len(tilts),
    )


def _exposure(statistics: Statistics) -> Iterator[Finding]:
    mean = sum(statistics.mean) / statistics.channels
    if mean < DARK or mean > BRIGHT:
        kind: Kind = "dark" if mean < DARK else "bright"
        yield Finding(
            kind,
            "warning",
            f"the images are {'very ' + kind}: their mean is {mean:.3f} on a scale from 0 to 1",
            "right for some subjects; else look at how they were made, as raw values that use a part of the range only",
        )
    if 0 < max(statistics.std) < FLAT:
        yield Finding(
            "low-contrast",
            "warning",
            f"low contrast: no channel has a deviation above {max(statistics.std):.3f} on a scale from 0 to 1",
            "right for some subjects; the choice of normalization matters more for such images",
        )


def _far(shift: Statistics) -> Iterator[Finding]:
    apart = max(abs(mean) for mean in shift.mean)
    ratios = [std if std >= 1 else 1 / std for std in shift.std if std > 0]
    widest = max(ratios, default=1.0)
    if apart >= FAR_MEAN or widest >= FAR_STD:
        yield Finding(
            "far-from-source",
            "note",
            f"far from the source's images: the mean is up to {apart:.2f} of its deviations away, the deviation "
            f"{min(shift.std):.2f} to {max(shift.std):.2f} times as large",
            "here the choice of normalization can matter, above all with a frozen backbone",
        )
