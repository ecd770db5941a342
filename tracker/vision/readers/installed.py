"""Readers of installed packages, and a careful look at everything they give."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tracker.study.errors import DataError, DataMissing, TrackerError, UsageError
from tracker.study.extensions import Extension
from tracker.study.recipe import DatasetSpec
from tracker.vision.extensions import blamed, load_extension, wrong
from tracker.vision.fetch import Download
from tracker.vision.progress import Progress
from tracker.vision.readers.raw import Facts, RawFile, RawSet, RawSplit, Reader, folder_path

ALWAYS = ("image_size", "channels")
"""Keys that every reader takes: whether it heeded them shows in the images' shape."""

OPTIONAL = ("path", "classes", "test_fraction", "split_seed")
"""Keys that a reader takes if it says so: a key that nobody looks at would be a silent no-op."""


def installed_reader(extension: Extension) -> InstalledReader:
    """Import a package's reader.

    Raises:
        TrackerError: it cannot be imported, or is no reader.
    """
    found = load_extension(extension)
    if isinstance(found, type):
        with blamed(extension, "cannot be made without arguments"):
            found = found()
    if not isinstance(found, Reader):
        raise wrong(extension, f"is {type(found).__name__}, not a tracker.vision.readers.raw.Reader")
    return InstalledReader(extension, found)


class InstalledReader(Reader):
    """A package's reader: it is asked the same questions, and its answers are checked.

    Args:
        extension: where it comes from; named in errors.
        reader: the package's own.
    """

    def __init__(self, extension: Extension, reader: Reader) -> None:
        self._extension = extension
        self._reader = reader
        self.takes = self._keys("takes")
        self.needs = self._keys("needs")

    def _keys(self, attribute: str) -> tuple[str, ...]:
        keys = getattr(self._reader, attribute, ())
        if not isinstance(keys, tuple) or not set(keys) <= set(OPTIONAL):
            raise wrong(self._extension, f"`{attribute}` is {keys!r}, not a tuple of {', '.join(OPTIONAL)}")
        return keys

    def check_keys(self, name: str, spec: DatasetSpec) -> None:
        """Compare a dataset's keys with those that the reader takes and needs.

        Raises:
            UsageError: one too many, or one too few.
        """
        taken = {*ALWAYS, *self.takes, *self.needs}
        for key in spec.model_fields_set - {"kind"} - taken:
            if getattr(spec, key) != DatasetSpec.model_fields[key].default:
                accepted = ", ".join(sorted(taken))
                raise UsageError(
                    f"dataset {name}: `{key}` means nothing to {self._extension}", f"keys it takes: {accepted}"
                )
        for key in self.needs:
            if getattr(spec, key) is None:
                raise UsageError(
                    f"dataset {name}: {self._extension} needs `{key}`",
                    f"in the study: datasets: {{NAME: {{kind: {spec.kind}, {key}: ...}}}}, with dataset: NAME",
                )

    def files(self) -> tuple[RawFile, ...]:
        """Return the files that reading needs."""
        with self._blamed("cannot tell its files"):
            return tuple(self._reader.files())

    def downloads(self) -> tuple[Download, ...]:
        """Return what brings those files."""
        with self._blamed("cannot tell its downloads"):
            return tuple(self._reader.downloads())

    def unpack(self, raw: Path) -> None:
        """Turn what was downloaded into `files()`."""
        with self._blamed("cannot unpack"):
            self._reader.unpack(raw)

    def facts(self, spec: DatasetSpec) -> Facts | None:
        """Return what the packed images will be, where that is known before they are read."""
        with self._blamed("cannot tell its sizes"):
            return self._reader.facts(spec)

    def origin(self, name: str, spec: DatasetSpec) -> dict[str, Any]:
        """Return the package, its version, what lies at `path`, and what the reader adds to that.

        Raises:
            DataMissing: there is nothing at `path`.
            DataError: the reader's own answer is not plain JSON.
        """
        self.check_keys(name, spec)
        found: dict[str, Any] = {"package": self._extension.origin}
        if spec.path is not None:
            found |= _traces(name, folder_path(spec))
        with self._blamed("cannot tell where its images come from"):
            found |= json.loads(json.dumps(self._reader.origin(name, spec), allow_nan=False))  # as it is read back
        return found

    def read(self, name: str, spec: DatasetSpec, raw: Path, progress: Progress) -> RawSet:
        """Read the dataset, and look at what it is.

        Raises:
            DataError: labels, shapes, classes or types are not what `RawSet` promises.
        """
        origin = self.origin(name, spec)  # before the images: what changes while they are read is seen next time
        with self._blamed(f"cannot read dataset {name}"):
            found = self._reader.read(name, spec, raw, progress)
        if not isinstance(found, RawSet):
            raise self._wrong(f"dataset {name} is {type(found).__name__}, not a RawSet")
        self._check_set(name, spec, found)
        train, test = (self._checked(f"dataset {name}, {which}", split, found) for which, split in _splits(found))
        return replace(found, train=train, test=test, origin=origin)

    def _check_set(self, name: str, spec: DatasetSpec, found: RawSet) -> None:
        """See that classes and shape can be those of an image set, and are those that were asked for."""
        classes, shape = found.classes, found.train.shape
        if not isinstance(classes, tuple) or not all(isinstance(one, str) and one for one in classes):
            raise self._wrong(f"dataset {name}: classes are {_short(classes)}, not a tuple of names")
        if len(classes) < 2 or len(set(classes)) < len(classes):
            raise self._wrong(f"dataset {name}: classes are {_short(classes)}, not two or more different ones")
        asked = None if spec.classes is None else tuple(str(one) for one in spec.classes)
        if asked not in (None, classes):
            raise self._wrong(f"dataset {name}: classes are {_short(classes)} where {_short(asked)} were asked for")
        if found.test.shape != shape:
            raise self._wrong(f"dataset {name}: shapes differ: train {_short(shape)}, test {_short(found.test.shape)}")
        if not isinstance(shape, tuple) or len(shape) != 3 or not all(type(side) is int for side in shape):
            raise self._wrong(f"dataset {name}: shape is {_short(shape)}, not (C, H, W) in whole numbers")
        if shape[0] not in (1, 3) or shape[1] != shape[2] or shape[1] < 1:
            raise self._wrong(f"dataset {name}: shape is {shape}, not 1 or 3 channels of a square")
        for key, value in (("channels", shape[0]), ("image_size", shape[1])):
            if getattr(spec, key) not in (None, value):
                raise self._wrong(f"dataset {name}: {key} is {value} where {getattr(spec, key)} was asked for")

    def _checked(self, what: str, split: RawSplit, found: RawSet) -> RawSplit:
        """Return a split with labels as int64, whose blocks are looked at as they come."""
        labels = np.asarray(split.labels)
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise self._wrong(f"{what}: labels are {labels.dtype} {labels.shape}, not whole numbers (N,)")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(found.classes):
            seen = f"{labels.min()} to {labels.max()}"
            raise self._wrong(f"{what}: labels are {seen}, and there are {len(found.classes)} classes, from 0")

        def blocks() -> Iterator[np.ndarray]:
            done = 0
            with self._blamed(f"{what}: images cannot be read"):
                given: Iterable[np.ndarray] = iter(split.blocks())
                for block in given:
                    self._check_block(what, block, split.shape)
                    done += len(block)
                    if done > len(labels):
                        break
                    yield block
            if done != len(labels):
                some = "more" if done > len(labels) else f"{done:,}"
                raise self._wrong(f"{what}: {some} images came for {len(labels):,} labels")

        return RawSplit(labels.astype(np.int64), split.shape, blocks)

    def _check_block(self, what: str, block: object, shape: tuple[int, int, int]) -> None:
        if not isinstance(block, np.ndarray):
            raise self._wrong(f"{what}: a block is {type(block).__name__}, not a numpy array")
        if block.dtype != np.uint8 or block.ndim != 4 or block.shape[1:] != shape:
            wanted = ", ".join(map(str, shape))
            raise self._wrong(f"{what}: a block is {block.dtype} {block.shape}, not uint8 (n, {wanted})")

    def _wrong(self, what: str) -> TrackerError:
        return wrong(self._extension, what, DataError)

    def _blamed(self, what: str) -> Any:
        return blamed(self._extension, what, DataError)


def _splits(found: RawSet) -> Iterator[tuple[str, RawSplit]]:
    yield "train", found.train
    yield "test", found.test


def _traces(name: str, path: Path) -> dict[str, Any]:
    """Return where a file or folder lies and what changes when it does: files, bytes and the newest time."""
    if not path.exists():
        raise DataMissing(f"dataset {name}: there is nothing at {path}", f"its place: --set datasets.{name}.path=PATH")
    try:
        files = [path] if path.is_file() else [Path(top, one) for top, _, some in os.walk(path) for one in some]
        seen = [one.stat() for one in files if one.is_file()]
    except OSError as error:
        raise DataError(f"dataset {name}: {path}: cannot be looked at: {error.strerror}") from error
    return {
        "path": str(path),
        "files": len(seen),
        "bytes": sum(one.st_size for one in seen),
        "newest": max((one.st_mtime_ns for one in seen), default=0),
    }


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
