"""A folder of images: `train/CLASS/*` and `test/CLASS/*`, or `CLASS/*` alone with a seeded split.

Classes are sorted by name, images by path, so a folder reads the same on every file system.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tracker.study.errors import DataError, DataMissing
from tracker.study.recipe import DatasetSpec
from tracker.vision.progress import Progress
from tracker.vision.readers.decoding import decoded, for_each
from tracker.vision.readers.pixels import decode, size_and_gray
from tracker.vision.readers.raw import RawSet, RawSplit, Reader, asked_shape, folder_path, held_out

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
"""In any case."""
NOT_CLASSES = frozenset({"__MACOSX"})
"""Folders that archivers leave behind."""
TEST_FRACTION = 0.2


@dataclass
class Tally:
    """What a scan has met: the images, and what it passed over.

    Args:
        listing: a line for each image: path, size, modification.
        skipped: files and folders that are hidden or hold no image.
    """

    listing: list[str] = field(default_factory=list)
    bytes: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class Scan:
    """A folder's images by split and class, before any is opened.

    Args:
        splits: `train` and `test`, or `` for a folder without them: class -> paths, both sorted.
    """

    root: Path
    splits: dict[str, dict[str, list[str]]]
    tally: Tally


class Folder(Reader):
    """Read a user's own images."""

    def origin(self, name: str, spec: DatasetSpec) -> dict[str, Any]:
        """Return path, files, bytes and a digest of names, sizes and times: a changed folder tells."""
        return _origin(scan_folder(name, folder_path(spec)))

    def read(self, name: str, spec: DatasetSpec, raw: Path, progress: Progress) -> RawSet:
        """Find the images and read their headers; pixels are decoded as they are asked for."""
        scan = scan_folder(name, folder_path(spec))
        classes = _classes(name, spec, scan)
        splits = _split(name, spec, scan, classes)
        paths = [path for images in splits.values() for path, _ in images]
        shape = _common_shape(name, spec, scan.root, paths, progress)

        def make(which: str) -> RawSplit:
            images = splits[which]
            read_one = partial(decode, channels=shape[0], size=spec.image_size)

            def blocks() -> Iterable[np.ndarray]:
                return decoded([path for path, _ in images], read_one, shape)

            return RawSplit(np.array([label for _, label in images], dtype=np.int64), shape, blocks)

        return RawSet(make("train"), make("test"), classes, _origin(scan), scan.tally.skipped)


def _origin(scan: Scan) -> dict[str, Any]:
    tally = scan.tally
    digest = hashlib.sha256(os.fsencode("\n".join(sorted(tally.listing)))).hexdigest()[:16]
    return {"path": str(scan.root), "files": len(tally.listing), "bytes": tally.bytes, "listing": digest}


def scan_folder(name: str, root: Path) -> Scan:
    """Find a folder's images; symbolic links are followed, each real folder once a class.

    Raises:
        DataMissing: there is no such folder.
        DataError: it has train/ without test/, or the other way round, or no folder of images at all,
            or cannot be read.
    """
    if not root.is_dir():
        raise DataMissing(f"{root}: there is no such folder of images", f"--set datasets.{name}.path=FOLDER")
    try:
        return _scan(root)
    except OSError as error:
        raise DataError(f"{error.filename or root}: cannot be read: {error.strerror}") from error


def _scan(root: Path) -> Scan:
    tally = Tally()
    found = [name for name in ("train", "test") if (root / name).is_dir()]
    if len(found) == 1:
        other = "test" if found == ["train"] else "train"
        raise DataError(
            f"{root}: has {found[0]}/ but no {other}/",
            f"add {other}/CLASS/*, or give a folder of CLASS/* alone, which is then split by class",
        )
    splits = {name: _scan_classes(root / name, root, tally) for name in found or [""]}
    return Scan(root, splits, tally)


def _scan_classes(folder: Path, root: Path, tally: Tally) -> dict[str, list[str]]:
    above = {_identity(root), _identity(folder)}
    classes = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith(".") or entry.name in NOT_CLASSES or not _is_folder(entry):
            tally.skipped += 1
        else:
            classes[entry.name] = sorted(_images(entry.path, set(above), tally))
    if not classes:
        raise DataError(f"{folder}: has no folders, so no classes", "put the images of each class into one: CLASS/*")
    return classes


def _images(folder: str, seen: set[tuple[int, int]], tally: Tally) -> Iterator[str]:
    """Give the images below `folder`; `seen` keeps a link to a folder already read from being followed."""
    pending = [folder]
    while pending:
        current = pending.pop()
        if (identity := _identity(Path(current))) in seen:
            tally.skipped += 1
            continue
        seen.add(identity)
        for entry in os.scandir(current):
            if entry.name.startswith("."):
                tally.skipped += 1
            elif _is_folder(entry):
                pending.append(entry.path)
            elif entry.name.lower().endswith(EXTENSIONS) and _count(entry, tally):
                yield entry.path
            else:
                tally.skipped += 1


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _count(entry: os.DirEntry[str], tally: Tally) -> bool:
    """Take down a file; false for what is no file (a pipe would block whoever opens it)."""
    try:
        status = entry.stat()
    except OSError:  # a dangling link: named with the other unreadable images when it is opened
        return True
    if not stat.S_ISREG(status.st_mode):
        return False
    tally.listing.append(f"{entry.path} {status.st_size} {status.st_mtime_ns}")
    tally.bytes += status.st_size
    return True


def _classes(name: str, spec: DatasetSpec, scan: Scan) -> tuple[str, ...]:
    """Return the class names: sorted, or those the spec asks for, in its order.

    Raises:
        DataError: fewer than two, one without images, or not the same ones in every split.
    """
    there = sorted({label for found in scan.splits.values() for label in found})
    wanted = tuple(str(label) for label in spec.classes or there)
    if unknown := sorted(set(wanted) - set(there)):
        raise DataError(
            f"{scan.root}: dataset {name} asks for class {unknown[0]!r}, which is no folder there",
            f"classes there: {', '.join(there)}",
        )
    for split, found in scan.splits.items():
        if lacking := [label for label in wanted if label not in found]:
            more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
            raise DataError(
                f"{scan.root}: train/ and test/ have different classes: {lacking[0]!r} is not in {split}/{more}",
                f"give both the same class folders, or name those to use: --set datasets.{name}.classes=[A, B]",
            )
        if empty := [label for label in wanted if not found[label]]:
            where = scan.root / split / empty[0]
            raise DataError(f"{where}: has no images", "put images there, or remove the folder")
    if len(wanted) < 2:
        raise DataError(f"{scan.root}: has one class, {wanted[0]!r}", "a classifier needs two: CLASS/* for each")
    return wanted


def _split(name: str, spec: DatasetSpec, scan: Scan, classes: Sequence[str]) -> dict[str, list[tuple[str, int]]]:
    """Return the images of train and test with their labels, in the order of classes and paths."""
    listed = {
        split: [(path, label) for label, folder in enumerate(classes) for path in found[folder]]
        for split, found in scan.splits.items()
    }
    if "" not in listed:
        if spec.test_fraction is not None or spec.split_seed:
            key = "test_fraction" if spec.test_fraction is not None else "split_seed"
            raise DataError(
                f"{scan.root}: has a split of its own, train/ and test/, but dataset {name} sets {key}",
                f"take {key} out, or give a folder of CLASS/* alone",
            )
        return listed
    images = listed[""]
    labels = np.array([label for _, label in images], dtype=np.int64)
    test = held_out(labels, spec.test_fraction or TEST_FRACTION, spec.split_seed, tuple(classes))
    return {
        "train": [image for image, held in zip(images, test, strict=True) if not held],
        "test": [image for image, held in zip(images, test, strict=True) if held],
    }


def _common_shape(
    name: str, spec: DatasetSpec, root: Path, paths: Sequence[str], progress: Progress
) -> tuple[int, int, int]:
    """Return (C, H, W) that all images have, or are given: gray only where every image is.

    Raises:
        DataError: sizes differ or are not square, and the spec does not say what to resize to.
        DataDamaged: headers that cannot be read.
    """
    headers = [
        header
        for block in for_each(paths, size_and_gray, task=f"look through {name}", progress=progress)
        for header in block
    ]
    gray = all(is_gray for _, is_gray in headers)
    (width, height), _ = headers[0]
    if spec.image_size is None:
        for path, ((w, h), _) in zip(paths, headers, strict=True):
            if (w, h) != (width, height):
                raise DataError(
                    f"{root}: images differ in size: {os.path.relpath(paths[0], root)} is {width}x{height}, "
                    f"{os.path.relpath(path, root)} is {w}x{h}",
                    f"resize them all: --set datasets.{name}.image_size=64, or another size",
                )
        if width != height:
            raise DataError(
                f"{root}: images are {width}x{height}, not square",
                f"crop and resize them: --set datasets.{name}.image_size={min(width, height)}, or another size",
            )
    return asked_shape(spec, (1 if gray else 3, height, width))


READERS = {"folder": Folder()}
