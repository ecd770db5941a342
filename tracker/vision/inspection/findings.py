"""What a look through a folder of images gives: counts, statistics, and findings, each with its cure.

Every path and name in here is relative to the folder and printable as it is: what a terminal would obey, or could
not show, is escaped.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from tracker.study.printing import printable
from tracker.study.recipe import DatasetSpec
from tracker.vision.images import Statistics

Severity = Literal["error", "warning", "note"]
"""error: nothing can be trained on the folder as it is; warning: a result may mislead; note: what is done to it."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""The worst first."""

Kind = Literal[
    # classes and split
    "one-class",
    "class-name",
    "class-missing",
    "class-too-small",
    "class-names-alike",
    "small-class",
    "imbalance",
    "few-test-images",
    "nested-folders",
    # files
    "unreadable",
    "not-read",
    "skipped",
    "duplicates-train-test",
    "duplicates-two-labels",
    "duplicates",
    # how images are stored
    "sixteen-bit",
    "transparency",
    "rotation",
    "cmyk",
    "palette",
    "animation",
    "colour-profile",
    "sizes-differ",
    "not-square",
    "small-images",
    "large-images",
    # pixels
    "constant-channel",
    "blank-images",
    "gray-as-rgb",
    "some-gray",
    "channel-order",
    "dark",
    "bright",
    "low-contrast",
    "far-from-source",
]
"""What a finding can be about."""

KINDS: tuple[Kind, ...] = get_args(Kind)

EXAMPLES = 5
"""Paths that a finding quotes."""


@dataclass(frozen=True)
class Finding:
    """Something to know of before training.

    Args:
        kind: docs/images.md tells of each.
        sentence: what was measured, with its number.
        cure: what to do about it; empty where nothing needs doing.
        examples: the first few paths, or classes, it is about.
        count: how many it is about in all: images, groups, classes or channels.
    """

    kind: Kind
    severity: Severity
    sentence: str
    cure: str = ""
    examples: tuple[str, ...] = ()
    count: int = 0


@dataclass(frozen=True)
class ClassCount:
    """A class and its readable images, by the folder's own split or by the seeded one.

    Args:
        train, test: images.
    """

    name: str
    train: int
    test: int

    @property
    def images(self) -> int:
        """All of them."""
        return self.train + self.test


@dataclass(frozen=True)
class Sizes:
    """The sizes of the readable images as seen, rotation applied; ordered by the shorter side, then the longer.

    Args:
        smallest, median, largest: (width, height) in pixels, each of an image that is there.
        distinct: different sizes.
        square: whether every image is.
    """

    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]
    distinct: int
    square: bool


@dataclass(frozen=True)
class Duplicates:
    """Files whose decoded pixels are equal, at full size, rotation applied, whatever their format.

    Args:
        paths: two at least, sorted.
        splits: of `train` and `test` those they lie in.
        classes: the labels they have, sorted.
    """

    paths: tuple[str, ...]
    splits: tuple[str, ...]
    classes: tuple[str, ...]

    @property
    def leaks(self) -> bool:
        """Whether a test image was trained on."""
        return len(self.splits) > 1

    @property
    def contradicts(self) -> bool:
        """Whether one picture has two labels."""
        return len(self.classes) > 1


@dataclass(frozen=True)
class Inspection:
    """What was found in a folder.

    Args:
        root: the folder.
        spec: what reads it as it was inspected: its path, `image_size` where images are resized, and
            `unreadable: skip` where files cannot be read.
        split: `own` for a folder of train/ and test/, `seeded` for one that is split by class.
        classes: sorted by name, or in the order of the spec.
        sizes: None where no image can be read.
        formats, modes: how many readable images have each, PIL's names, the commonest first.
        channels: 1 or 3, as they are stored.
        image_size: pixels a side at which they are stored, and the statistics taken.
        statistics: exact, of all training images as they are stored; None where there are none.
        shift: mean and deviation of the training images in the source's standard deviations, so 0 and 1 where they
            are as the source's; None without source or statistics.
        unreadable: (path, reason) of files that should be images.
        skipped: (path, reason) of files and folders passed over.
        duplicates: groups of equal images: those that leak first, then those that contradict, then the rest.
        findings: the worst first.
    """

    root: Path
    spec: DatasetSpec
    split: Literal["own", "seeded"]
    classes: tuple[ClassCount, ...]
    sizes: Sizes | None
    formats: dict[str, int]
    modes: dict[str, int]
    channels: int
    image_size: int
    statistics: Statistics | None
    shift: Statistics | None
    unreadable: tuple[tuple[str, str], ...]
    skipped: tuple[tuple[str, str], ...]
    duplicates: tuple[Duplicates, ...]
    findings: tuple[Finding, ...]

    @property
    def train(self) -> int:
        """Readable training images."""
        return sum(count.train for count in self.classes)

    @property
    def test(self) -> int:
        """Readable test images."""
        return sum(count.test for count in self.classes)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that keep a training from starting."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    def plain(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        values = asdict(self)
        return {
            **values,
            "root": printable(str(self.root)),
            "spec": self.spec.model_dump(mode="json", exclude_defaults=True),
            "train": self.train,
            "test": self.test,
        }
