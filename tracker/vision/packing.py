"""Packing: raw images to the packed form, in one pass and little memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as np

from tracker.study.errors import DataError
from tracker.vision.packed import FORMAT, MANIFEST, Manifest, PackedFile, fingerprint_of
from tracker.vision.progress import Progress, Step, silent
from tracker.vision.readers.raw import RawSet, RawSplit
from tracker.vision.statistics import histogram

SPARE_BYTES = 64 << 20
"""Left free on the disk when packing starts."""


def write_packed(
    folder: Path, raw: RawSet, *, name: str, kind: str, identity: dict[str, Any], progress: Progress = silent
) -> Manifest:
    """Pack a dataset, block by block, and put it in the place of what `folder` was.

    One process at a time may do this for one folder; the caller holds a lock.

    Raises:
        DataError: the disk is full, or the data has no images; nothing half-written stays.
        DataDamaged: a raw file cannot be read.

    Writes: `folder`, whole or not at all.
    """
    _check_images(name, raw)
    temporary = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}.tmp")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left in folder.parent.glob(f".{folder.name}.*.tmp"):  # of a process that was killed
            shutil.rmtree(left)
        _check_space(folder, raw)
        temporary.mkdir()
        manifest = _write_arrays(temporary, raw, name, kind, identity, progress)
        with (temporary / MANIFEST).open("wb") as file:
            file.write(json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1).encode("ascii"))
            _flush(file)
        _swap(temporary, folder)
    except OSError as error:
        raise DataError(
            f"{folder}: packing {name} failed: {error.strerror or error}",
            "free some space, or choose another place with --home DIR",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def _check_images(name: str, raw: RawSet) -> None:
    for split, images in (("train", raw.train), ("test", raw.test)):
        if not len(images):
            raise DataError(f"dataset {name} has no {split} images")
        assert images.labels.min() >= 0 and images.labels.max() < len(raw.classes)  # the reader's rule


def _check_space(folder: Path, raw: RawSet) -> None:
    needed = sum(len(split) * (int(np.prod(split.shape)) + 8) for split in (raw.train, raw.test))
    free = shutil.disk_usage(folder.parent).free
    if needed + SPARE_BYTES > free:
        raise DataError(
            f"{folder.parent}: packing needs {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free",
            "free some space, or choose another place with --home DIR",
        )


def _write_arrays(
    folder: Path, raw: RawSet, name: str, kind: str, identity: dict[str, Any], progress: Progress
) -> Manifest:
    files: dict[str, PackedFile] = {}
    counts: dict[str, np.ndarray] = {}
    for split, images in (("train", raw.train), ("test", raw.test)):
        path = folder / f"{split}_images.npy"
        files[path.name], counts[split] = _write_images(path, images, f"pack {name} {split}", progress)
        path = folder / f"{split}_labels.npy"
        files[path.name] = _write_labels(path, images.labels)
    return Manifest(
        name=name,
        kind=kind,
        identity=identity,
        classes=raw.classes,
        files=files,
        shapes={"train": (len(raw.train), *raw.train.shape), "test": (len(raw.test), *raw.test.shape)},
        train_histogram=counts["train"].tolist(),
        fingerprint=fingerprint_of(files),
        origin=raw.origin,
        skipped=raw.skipped,
    )


class _Hashing:
    """A file that hashes what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest, self.bytes = file, hashlib.sha256(), 0

    def write(self, data: Any) -> int:
        self.digest.update(data)
        self.bytes += len(data)
        return self.file.write(data)

    def close(self) -> PackedFile:
        """Bring the file to the disk and say what it is."""
        _flush(self.file)
        return PackedFile(self.bytes, self.digest.hexdigest())


def _write_images(path: Path, images: RawSplit, task: str, progress: Progress) -> tuple[PackedFile, np.ndarray]:
    with path.open("xb") as file:
        hashing = _Hashing(file)
        _write_header(hashing, np.uint8, (len(images), *images.shape))
        counts = np.zeros((images.shape[0], 256), dtype=np.int64)
        done = 0
        for block in images.blocks():
            assert block.dtype == np.uint8 and block.shape[1:] == images.shape  # the reader's rule
            hashing.write(np.ascontiguousarray(block).data.cast("B"))
            counts += histogram(block)
            done += len(block)
            progress(Step(task, done, len(images), "images"))
        assert done == len(images)
        return hashing.close(), counts


def _write_labels(path: Path, labels: np.ndarray) -> PackedFile:
    with path.open("xb") as file:
        hashing = _Hashing(file)
        _write_header(hashing, np.int64, labels.shape)
        hashing.write(labels.astype("<i8").tobytes())
        return hashing.close()


def _write_header(file: _Hashing, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype).newbyteorder("<"))
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _swap(temporary: Path, folder: Path) -> None:
    """Rename `temporary` to `folder`; what was there goes, though who has it mapped keeps it."""
    old = folder.with_name(f".{folder.name}.old.tmp")
    if folder.exists():
        folder.rename(old)
    temporary.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    parent = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(parent)  # or a power cut could undo the renames
    finally:
        os.close(parent)
