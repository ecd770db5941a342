"""Rules on classes and splits: is there something to train on, and something to measure with?"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

from tracker.study.printing import printable
from tracker.study.wording import counted
from tracker.vision.inspection.evidence import Evidence
from tracker.vision.inspection.findings import EXAMPLES, Finding, Kind, Severity
from tracker.vision.readers.scanning import alike

FEW_TRAIN = 20
"""Training images of a class below which it is called small."""

UNEVEN = 10
"""How many times the smallest class the largest has where they are called uneven."""

FEW_TEST = 1000
"""Test images below which one accuracy has a standard error of up to 1.6 points: larger than most differences."""


def class_findings(evidence: Evidence) -> Iterator[Finding]:
    """Judge names and counts of classes, and the size of the test split."""
    names = [printable(label) for label in evidence.classes]
    if len(names) < 2:
        yield Finding(
            "one-class",
            "error",
            f"there is one class, {names[0]}: a classifier needs two",
            "put the images of each class into a folder of its own, or give the folder above or below this one",
            tuple(names),
            1,
        )
    yield from _about(
        "class-name",
        "error",
        [printable(label) for label in evidence.classes if printable(label) != label],
        "{} with control characters or bytes that are not UTF-8 in the name",
        "rename these folders: their names are the classes' names in every table",
    )
    yield from _about(
        "class-names-alike",
        "warning",
        _alike(evidence.classes),
        "{} whose names differ in case or Unicode form alone: they are trained as different classes",
        "put their images into one folder, if they are one class",
    )
    yield from _missing(evidence)
    yield from _sizes(evidence)
    yield from _nested(evidence)


def _about(kind: Kind, severity: Severity, names: Sequence[str], sentence: str, cure: str) -> Iterator[Finding]:
    """Yield a finding about classes, if there are any; `{}` in the sentence becomes `2 classes`."""
    if names:
        said = sentence.format(counted(len(names), "class", "classes"))
        yield Finding(kind, severity, said, cure, tuple(names[:EXAMPLES]), len(names))


def _alike(classes: Sequence[str]) -> list[str]:
    groups = defaultdict(list)
    for label in classes:
        groups[alike(label)].append(printable(label))
    return [label for group in groups.values() if len(group) > 1 for label in group]


def _missing(evidence: Evidence) -> Iterator[Finding]:
    """Yield the classes that have no image, or none on one side of the split."""
    lacking, short = [], []
    for label, (train, test) in evidence.counts.items():
        if evidence.split == "own" or not train + test:
            sides = [side for side, count in (("train", train), ("test", test)) if not count]
            where = f" in {' and '.join(sides)}/" if evidence.split == "own" else ""
            lacking += [f"{printable(label)}{where}"] if sides else []
        elif train + test == 1:
            short.append(printable(label))
    yield from _about(
        "class-missing",
        "error",
        lacking,
        "{} without an image that can be read",
        "put images there, or remove the folder; train/ and test/ need the same classes",
    )
    yield from _about(
        "class-too-small",
        "error",
        short,
        "{} with a single image: one is needed to train on, and one to test on",
        "add images, or remove the folder",
    )


def _sizes(evidence: Evidence) -> Iterator[Finding]:
    small = [f"{printable(label)} ({train})" for label, (train, _) in evidence.counts.items() if 0 < train < FEW_TRAIN]
    yield from _about(
        "small-class",
        "warning",
        small,
        f"{{}} with fewer than {FEW_TRAIN} training images: what is learned of them is left to chance",
        "add images, or leave these classes out",
    )
    totals = {label: train + test for label, (train, test) in evidence.counts.items() if train + test}
    if len(totals) > 1 and (most := max(totals.values())) >= UNEVEN * (least := min(totals.values())):
        largest, smallest = max(totals, key=totals.__getitem__), min(totals, key=totals.__getitem__)
        yield Finding(
            "imbalance",
            "warning",
            f"{printable(largest)} has {counted(most, 'image')}, {printable(smallest)} {least:,}: who always says "
            f"{printable(largest)} is right in {most / sum(totals.values()):.0%}",
            "accuracy counts images, not classes: look at the confusion matrix too, or even out the classes",
            (printable(largest), printable(smallest)),
            2,
        )
    test_images = sum(test for _, test in evidence.counts.values())
    if 0 < test_images < FEW_TEST:
        error = 50 / math.sqrt(test_images)
        yield Finding(
            "few-test-images",
            "warning",
            f"{counted(test_images, 'test image')}: one accuracy has a standard error of up to {error:.1f} points, "
            "and settings that differ by less may stay undecided, whatever the number of runs",
            "add test images, or hold out a larger share (test_fraction) where the folder has no split of its own",
            (),
            test_images,
        )


def _nested(evidence: Evidence) -> Iterator[Finding]:
    """Yield the images in folders below their class's: a folder given one level too high looks like that."""
    nested = [picture for picture in evidence.pictures if picture.folder]
    if not nested:
        return
    owners = defaultdict(set)
    for picture in nested:
        owners[picture.folder].add(picture.label)
    shared = sorted(folder for folder, labels in owners.items() if len(labels) > 1)
    said = f"{counted(len(nested), 'image')} in folders below a class's folder, whose label they get"
    if shared and len(nested) == len(evidence):
        yield Finding(
            "nested-folders",
            "warning",
            f"{said}; the same folders lie below several classes, as classes would",
            "if these are the classes, give a folder whose folders they are",
            tuple(printable(folder) for folder in shared[:EXAMPLES]),
            len(nested),
        )
    else:
        examples = tuple(evidence.shown(picture.path) for picture in nested[:EXAMPLES])
        yield Finding("nested-folders", "note", said, "", examples, len(nested))
