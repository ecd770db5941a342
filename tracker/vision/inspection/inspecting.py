"""A look through a folder of images: what is there, what will be made of it, what will bite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tracker.study.errors import DataMissing
from tracker.study.printing import printable
from tracker.study.recipe import DatasetSpec
from tracker.vision.images import Statistics
from tracker.vision.inspection.class_rules import class_findings
from tracker.vision.inspection.duplicates import duplicate_findings, duplicates_of
from tracker.vision.inspection.evidence import Evidence, gather
from tracker.vision.inspection.file_rules import file_findings
from tracker.vision.inspection.findings import SEVERITIES, ClassCount, Inspection, Sizes
from tracker.vision.inspection.pixel_rules import pixel_findings
from tracker.vision.progress import Progress, silent
from tracker.vision.readers.raw import folder_path
from tracker.vision.readers.scanning import Scan, scan_folder
from tracker.vision.statistics import shifted


def inspect_folder(
    root: Path, *, spec: DatasetSpec | None = None, source: Statistics | None = None, progress: Progress = silent
) -> Inspection:
    """Look through a folder of images as the reader of kind `folder` would read it, and judge what is there.

    Every image is decoded once; memory does not grow with their size, and by about 1 KB an image. What keeps a
    training from starting is a finding of severity `error`, unless nothing can be looked at. Files that cannot be
    read are left out, as with `unreadable: skip`.

    Args:
        root: train/CLASS/* and test/CLASS/*, or CLASS/*.
        spec: what to read it with; its path is not used. Without `image_size` a size is suggested.
        source: statistics to measure the shift from.

    Raises:
        DataMissing: there is no such folder.
        DataError: it has no class folders, half a split, or a folder that cannot be opened.
    """
    asked = (spec or DatasetSpec(kind="folder", path=str(root))).model_copy(update={"path": str(root)})
    evidence = gather(_scanned(asked), asked, progress)
    groups = duplicates_of(evidence)
    statistics = evidence.statistics
    shift = shifted(statistics, source) if statistics is not None and source is not None else None
    findings = [
        *class_findings(evidence),
        *file_findings(evidence),
        *duplicate_findings(groups),
        *pixel_findings(evidence, shift),
    ]
    return Inspection(
        root=evidence.scan.root,
        spec=_reading(evidence),
        split=evidence.split,
        classes=tuple(ClassCount(printable(label), *counts) for label, counts in evidence.counts.items()),
        sizes=_sizes(evidence),
        formats=_counted(look.format for look in evidence.looks),
        modes=_counted(look.mode for look in evidence.looks),
        channels=evidence.channels,
        image_size=evidence.image_size,
        statistics=statistics,
        shift=shift,
        unreadable=tuple(sorted((evidence.shown(failure.name), failure.reason) for failure in evidence.unreadable)),
        skipped=tuple((evidence.shown(path), reason) for path, reason in evidence.scan.tally.passed_over),
        duplicates=groups,
        findings=tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))),
    )


def _scanned(spec: DatasetSpec) -> Scan:
    try:
        return scan_folder("mine", folder_path(spec))
    except DataMissing as error:  # its cure is for a study file
        raise DataMissing(error.message, "give a folder that holds a folder for each class") from error
    except (RuntimeError, ValueError) as error:  # a link to itself, no such user, a name with a zero byte
        raise DataMissing(f"{printable(str(spec.path))}: is no folder: {printable(str(error))}") from error


def _reading(evidence: Evidence) -> DatasetSpec:
    """Return the spec that makes the reader store what was inspected."""
    changes: dict[str, object] = {"path": str(evidence.scan.root)}
    if {look.size for look in evidence.looks} != {(evidence.image_size, evidence.image_size)}:
        changes["image_size"] = evidence.image_size
    if evidence.unreadable:
        changes["unreadable"] = "skip"
    return evidence.spec.model_copy(update=changes)


def _sizes(evidence: Evidence) -> Sizes | None:
    sizes = sorted((look.size for look in evidence.looks), key=lambda size: (min(size), max(size), size))
    if not sizes:
        return None
    return Sizes(
        smallest=sizes[0],
        median=sizes[len(sizes) // 2],
        largest=sizes[-1],
        distinct=len(set(sizes)),
        square=all(width == height for width, height in sizes),
    )


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(Counter(words).most_common())
