"""A folder of images: `train/CLASS/*` and `test/CLASS/*`, or `CLASS/*` alone with a seeded split.

Every file with an image's extension is an image, or an error that names it; with `unreadable: skip`
all are decoded once, first, and those that cannot be are left out before anything is split.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tracker.study.errors import DataError
from tracker.study.printing import printable
from tracker.study.recipe import DatasetSpec
from tracker.vision.progress import Progress
from tracker.vision.readers.decoding import Unreadable, attempt_each, decoded, unreadable_error
from tracker.vision.readers.pixels import decode, size_and_gray
from tracker.vision.readers.raw import RawSet, RawSplit, Reader, asked_shape, folder_path, held_out
from tracker.vision.readers.scanning import Scan, alike, scan_folder

TEST_FRACTION = 0.2

Header = tuple[tuple[int, int], bool]
"""(width, height) as seen, and whether the image is gray."""


class Folder(Reader):
    """Read a user's own images."""

    def origin(self, name: str, spec: DatasetSpec) -> dict[str, Any]:
        """Return path, files, bytes and a digest of names, sizes and times: a changed folder tells."""
        return _origin(scan_folder(name, folder_path(spec)))

    def read(self, name: str, spec: DatasetSpec, raw: Path, progress: Progress) -> RawSet:
        """Find the images and read their headers; pixels are decoded as they are asked for.

        With `unreadable: skip` every image is decoded here too, to see whether it can be.
        """
        scan = scan_folder(name, folder_path(spec))
        classes = _classes(name, spec, scan)
        headers, unreadable = _headers(name, spec, scan.paths(classes), progress)
        if unreadable:
            scan = _readable(scan, classes, unreadable)
        splits = _split(name, spec, scan, classes)
        shape = _common_shape(name, spec, scan.root, headers)

        def make(which: str) -> RawSplit:
            images = splits[which]
            read_one = partial(decode, channels=shape[0], size=spec.image_size)

            def blocks() -> Iterable[np.ndarray]:
                return decoded([path for path, _ in images], read_one, shape, cure=_cure(name))

            return RawSplit(np.array([label for _, label in images], dtype=np.int64), shape, blocks)

        skipped = scan.tally.skipped + len(unreadable)
        return RawSet(make("train"), make("test"), classes, _origin(scan), skipped)


def _origin(scan: Scan) -> dict[str, Any]:
    tally = scan.tally
    digest = hashlib.sha256(os.fsencode("\n".join(sorted(tally.listing)))).hexdigest()[:16]
    return {"path": str(scan.root), "files": len(tally.listing), "bytes": tally.bytes, "listing": digest}


def _cure(name: str) -> str:
    return f"replace or remove these files, or leave them out: --set datasets.{name}.unreadable=skip"


def _classes(name: str, spec: DatasetSpec, scan: Scan) -> tuple[str, ...]:
    """Return the class names: sorted, or those the spec asks for, in its order.

    Raises:
        DataError: fewer than two, one without images, one that cannot be shown, or not the same ones in every split.
    """
    there = scan.classes()
    wanted = tuple(str(label) for label in spec.classes or there)
    if unknown := sorted(set(wanted) - set(there)):
        raise DataError(
            f"{scan.root}: dataset {name} asks for class {unknown[0]!r}, which is no folder there",
            f"classes there: {', '.join(map(printable, there))}",
        )
    for label in wanted:
        if printable(label) != label:
            raise DataError(
                f"{scan.root}: class folder '{printable(label)}' has control characters in its name, or is not UTF-8",
                "rename the folder: its name is the class's name in every table",
            )
    for split, found in scan.splits.items():
        if lacking := [label for label in wanted if label not in found]:
            more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
            twin = next((label for label in found if alike(label) == alike(lacking[0])), None)
            spelt = f", where {twin!r} is spelt in another case or Unicode form" if twin else ""
            raise DataError(
                f"{scan.root}: train/ and test/ have different classes: {lacking[0]!r} is not in {split}/{spelt}{more}",
                f"give both the same class folders, or name those to use: --set datasets.{name}.classes=[A, B]",
            )
        if empty := [label for label in wanted if not found[label]]:
            where = scan.root / split / empty[0]
            raise DataError(f"{where}: has no images", "put images there, or remove the folder")
    if len(wanted) < 2:
        raise DataError(f"{scan.root}: has one class, {wanted[0]!r}", "a classifier needs two: CLASS/* for each")
    return wanted


def _headers(
    name: str, spec: DatasetSpec, paths: Sequence[str], progress: Progress
) -> tuple[dict[str, Header], dict[str, str]]:
    """Read every image's header, with `unreadable: skip` its pixels too.

    Returns:
        path -> header of the images that can be read, and path -> reason of those left out.

    Raises:
        DataDamaged: images cannot be read, and the spec does not say to leave them out.
    """
    skip = spec.unreadable == "skip"
    headers: dict[str, Header] = {}
    failures: list[Unreadable] = []
    done = 0
    for block in attempt_each(
        paths, _decoded_header if skip else size_and_gray, task=f"look through {name}", progress=progress
    ):
        for path, result in zip(paths[done : done + len(block)], block, strict=True):
            if isinstance(result, Unreadable):
                failures.append(result)
            else:
                headers[path] = result
        done += len(block)
    if failures and not skip:
        raise unreadable_error(failures, len(paths), _cure(name))
    return headers, {failure.name: failure.reason for failure in failures}


def _decoded_header(path: str) -> Header:
    """Return an image's header once its pixels could be decoded too, as `decode` will."""
    header = size_and_gray(path)
    decode(path, 1, None)
    return header


def _readable(scan: Scan, classes: Sequence[str], unreadable: Mapping[str, str]) -> Scan:
    """Return a scan without what cannot be read.

    Raises:
        DataError: a class has no image left, in the folder or in one of its splits.
    """
    left = scan.without(unreadable)
    for split, found in left.splits.items():
        for label in classes:
            if not found[label]:
                lost = scan.splits[split][label]
                where = scan.root / split / label
                raise DataError(
                    f"{where}: none of its {len(lost)} images can be read; "
                    f"{printable(os.path.relpath(lost[0], scan.root))}: {unreadable[lost[0]]}",
                    "replace these files, or remove the folder",
                )
    return left


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


def _common_shape(name: str, spec: DatasetSpec, root: Path, headers: Mapping[str, Header]) -> tuple[int, int, int]:
    """Return (C, H, W) that all images have, or are given: gray only where every image is.

    Raises:
        DataError: sizes differ or are not square, and the spec does not say what to resize to.
    """
    gray = all(is_gray for _, is_gray in headers.values())
    first, ((width, height), _) = next(iter(headers.items()))
    if spec.image_size is None:
        for path, ((w, h), _) in headers.items():
            if (w, h) != (width, height):
                one, other = (printable(os.path.relpath(path, root)) for path in (first, path))
                raise DataError(
                    f"{root}: images differ in size: {one} is {width}x{height}, {other} is {w}x{h}",
                    f"resize them all: --set datasets.{name}.image_size=64, or another size",
                )
        if width != height:
            raise DataError(
                f"{root}: images are {width}x{height}, not square",
                f"crop and resize them: --set datasets.{name}.image_size={min(width, height)}, or another size",
            )
    return asked_shape(spec, (1 if gray else 3, height, width))


READERS = {"folder": Folder()}
