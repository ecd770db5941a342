"""Rules on files: which are left out, and what is lost on the way from a file to the bytes that are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tracker.study.wording import counted
from tracker.vision.inspection.evidence import SMALLEST_SIDE, Evidence
from tracker.vision.inspection.findings import EXAMPLES, Finding, Kind, Severity
from tracker.vision.inspection.look import Look
from tracker.vision.readers.scanning import NOT_READ

FULL_BITS = 15
"""Bits that the brightest pixel of 16-bit images needs, unless they are of a camera with 12 or 14."""

CROPPED = 0.25
"""Share of the pixels cut off, in the median image, from which on a crop is warned of."""

SHRUNK = 4
"""How many times smaller images are stored where that is remarked on."""


def file_findings(evidence: Evidence) -> Iterator[Finding]:
    """Judge what is left out, how images are stored, and their sizes."""
    yield from _left_out(evidence)
    yield from _sixteen(evidence)
    for kind, severity, met, sentence, cure in CONVERSIONS:
        yield from _told(kind, severity, evidence.where(met), sentence, cure)
    if evidence.looks:
        yield from _shapes(evidence)


def _told(kind: Kind, severity: Severity, paths: Sequence[str], sentence: str, cure: str) -> Iterator[Finding]:
    if paths:
        said = f"{counted(len(paths), 'image')} {sentence}"
        yield Finding(kind, severity, said, cure, tuple(paths[:EXAMPLES]), len(paths))


def _left_out(evidence: Evidence) -> Iterator[Finding]:
    lost = sorted(f"{evidence.shown(failure.name)}: {failure.reason}" for failure in evidence.unreadable)
    if lost:
        yield Finding(
            "unreadable",
            "warning",
            f"{counted(len(lost), 'file')} that cannot be read as an image, left out",
            "replace them, or remove them",
            tuple(lost[:EXAMPLES]),
            len(lost),
        )
    passed_over = [(evidence.shown(path), reason) for path, reason in evidence.scan.tally.passed_over]
    unread = [path for path, reason in passed_over if reason.endswith(NOT_READ)]
    if unread:
        yield Finding(
            "not-read",
            "warning",
            f"{counted(len(unread), 'file')} that may be pictures, of a format that is not read; left out",
            "save them as PNG or JPEG, or remove them",
            tuple(unread[:EXAMPLES]),
            len(unread),
        )
    others = [f"{path}: {reason}" for path, reason in passed_over if not reason.endswith(NOT_READ)]
    if others:
        said = f"{counted(len(others), 'file or folder', 'files or folders')} passed over"
        yield Finding("skipped", "note", said, "", tuple(others[:EXAMPLES]), len(others))


def _sixteen(evidence: Evidence) -> Iterator[Finding]:
    paths = evidence.where(lambda look: look.sixteen)
    bits = max((look.bits for look in evidence.looks), default=0)
    if 0 < bits < FULL_BITS:
        yield from _told(
            "sixteen-bit",
            "warning",
            paths,
            f"with 16 bits a channel, of which the brightest pixel needs {bits}: as 65535 becomes 255, "
            f"nothing is brighter than {(2**bits - 1) / 65535:.1%}",
            f"multiply the values by {2 ** (16 - bits)} when the files are written, or save them with 8 bits",
        )
    else:
        yield from _told(
            "sixteen-bit",
            "note",
            paths,
            "with 16 bits a channel; the upper 8 are kept",
            "",
        )


CONVERSIONS: tuple[tuple[Kind, Severity, Callable[[Look], bool], str, str], ...] = (
    (
        "transparency",
        "warning",
        lambda look: look.clear > 0,
        "with transparent pixels, put on black",
        "save them on the background they are meant for; whoever predicts must do the same",
    ),
    (
        "rotation",
        "warning",
        lambda look: look.turned,
        "turned or mirrored by EXIF data; stored upright",
        "whoever predicts must turn them too: PIL.ImageOps.exif_transpose; torchvision's readers do not by themselves",
    ),
    (
        "cmyk",
        "warning",
        lambda look: look.mode == "CMYK",
        "in CMYK, made RGB by the plain formula, without a colour profile: colours are not those of the print",
        "save them as RGB with a program that applies their profile",
    ),
    ("palette", "note", lambda look: look.mode in ("P", "PA"), "with a palette, made RGB as it looks", ""),
    (
        "animation",
        "warning",
        lambda look: look.animated,
        "with several frames or pages, of which the first is taken",
        "save the frames that count as files of their own",
    ),
    (
        "colour-profile",
        "note",
        lambda look: look.profile,
        "with a colour profile other than sRGB, which is not applied, as torchvision does not",
        "convert them to sRGB, if others without a profile are among them",
    ),
)
"""(kind, severity, which images, sentence, cure)."""


def _shapes(evidence: Evidence) -> Iterator[Finding]:
    sizes = [look.size for look in evidence.looks]
    size = evidence.image_size
    stored = f"stored as {size}x{size}"
    if len(set(sizes)) > 1:
        least, most = min(sizes, key=_order), max(sizes, key=_order)
        yield Finding(
            "sizes-differ",
            "note",
            f"{len(set(sizes)):,} sizes, from {least[0]}x{least[1]} to {most[0]}x{most[1]}; {stored}",
            "choose another size with image_size",
            (),
            len(set(sizes)),
        )
    lost = np.array([1 - min(pair) / max(pair) for pair in sizes])
    if oblong := int((lost > 0).sum()):
        middle = float(np.median(lost))
        paths = evidence.where(lambda look: look.size[0] != look.size[1])
        yield Finding(
            "not-square",
            "warning" if middle >= CROPPED else "note",
            f"{counted(oblong, 'image')} not square: the largest centred square is kept, which cuts off "
            f"{middle:.0%} of the median image and {lost.max():.0%} of the most oblong",
            "crop them yourself where what counts lies at an edge",
            tuple(paths[:EXAMPLES]),
            oblong,
        )
    shorter = np.array([min(pair) for pair in sizes])
    least_side = min(size, SMALLEST_SIDE)
    tiny = evidence.where(lambda look: min(look.size) < least_side)
    if tiny:
        yield Finding(
            "small-images",
            "note",
            f"{counted(len(tiny), 'image')} smaller than {least_side} pixels, enlarged: {stored}",
            "",
            tuple(tiny[:EXAMPLES]),
            len(tiny),
        )
    if (middle_side := int(np.median(shorter))) >= SHRUNK * size:
        yield Finding(
            "large-images",
            "note",
            f"the median image is {middle_side} pixels high or wide, and {stored}: details are lost, and accuracy "
            "is lower than at full size",
            "a larger image_size keeps more, and takes longer",
            (),
            len(sizes),
        )


def _order(size: tuple[int, int]) -> tuple[int, int]:
    return min(size), max(size)
