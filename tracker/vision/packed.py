"""The packed form: a folder of four .npy files, decoded once, memory-mapped ever after.

train_images.npy  test_images.npy    uint8, (N, C, H, W)
train_labels.npy  test_labels.npy    int64, (N,)
manifest.json                        what they are, with size and SHA-256 of each, and histograms
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tracker.study.errors import DataDamaged
from tracker.study.plain import parse_json
from tracker.vision.images import ImageSet, Split, Statistics
from tracker.vision.progress import Progress, Step, silent
from tracker.vision.statistics import statistics_of

FORMAT = 1
MANIFEST = "manifest.json"
SPLITS: tuple[Literal["train", "test"], ...] = ("train", "test")
ARRAYS = tuple(f"{split}_{what}.npy" for split in SPLITS for what in ("images", "labels"))


@dataclass(frozen=True)
class PackedFile:
    """One of the four arrays on disk."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a packed folder says of itself.

    Args:
        kind: how the images were stored before.
        identity: what decided the images, as `DatasetSpec.identity` gives it.
        classes: K names, in the order of the labels.
        files: by name, the four of `ARRAYS`.
        shapes: split -> (N, C, H, W).
        train_histogram: C lists of 256 counts.
        fingerprint: 16 hex digits of the SHA-256 of the four files' SHA-256.
        origin: where the raw images were; see `RawSet`.
        skipped: files passed over there.
    """

    name: str
    kind: str
    identity: dict[str, Any]
    classes: tuple[str, ...]
    files: dict[str, PackedFile]
    shapes: dict[str, tuple[int, int, int, int]]
    train_histogram: list[list[int]]
    fingerprint: str
    origin: dict[str, Any]
    skipped: int

    @property
    def bytes(self) -> int:
        """Size of the four files together."""
        return sum(file.bytes for file in self.files.values())

    @property
    def statistics(self) -> Statistics:
        """Exact statistics of the training images."""
        return statistics_of(np.array(self.train_histogram, dtype=np.int64))


def fingerprint_of(files: dict[str, PackedFile]) -> str:
    """Return 16 hex digits that tell these four files from any others."""
    joined = "".join(files[name].sha256 for name in ARRAYS)
    return hashlib.sha256(joined.encode("ascii")).hexdigest()[:16]


def read_manifest(folder: Path) -> Manifest | None:
    """Read what a packed folder says of itself; None where there is no such folder.

    Raises:
        DataDamaged: it cannot be read, or the files have other sizes than it says.
    """
    if not folder.is_dir():
        return None
    path = folder / MANIFEST
    try:
        plain = parse_json(path.read_bytes())
        found = plain.pop("format")
        if found != FORMAT:
            raise _damaged(path, f"has format {found}, this version reads {FORMAT}")
        plain["files"] = {name: PackedFile(**entry) for name, entry in plain["files"].items()}
        plain["shapes"] = {split: tuple(shape) for split, shape in plain["shapes"].items()}
        plain["classes"] = tuple(plain["classes"])
        manifest = Manifest(**plain)
        sizes = {name: manifest.files[name].bytes for name in ARRAYS}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"cannot be read ({error})") from error
    for name, size in sizes.items():
        actual = (folder / name).stat().st_size if (folder / name).is_file() else None
        if actual != size:
            state = "is missing" if actual is None else f"has {actual:,} bytes instead of {size:,}"
            raise _damaged(folder / name, state)
    return manifest


def open_packed(folder: Path, manifest: Manifest, *, name: str) -> ImageSet:
    """Open a packed dataset; its images stay on disk until they are used, and writing to them changes no file.

    Args:
        manifest: of this folder.
        name: as in the study.

    Raises:
        DataDamaged: an array is not what the manifest says.
    """
    splits = {}
    for split in SPLITS:
        images = _load(folder / f"{split}_images.npy", np.dtype(np.uint8), manifest.shapes[split], mapped=True)
        labels = _load(folder / f"{split}_labels.npy", np.dtype(np.int64), manifest.shapes[split][:1], mapped=False)
        if labels.min() < 0 or labels.max() >= len(manifest.classes):
            raise _damaged(folder / f"{split}_labels.npy", f"has labels beyond the {len(manifest.classes)} classes")
        splits[split] = Split(images, labels)
    return ImageSet(name, splits["train"], splits["test"], manifest.classes, manifest.statistics, manifest.fingerprint)


def _load(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], mapped: bool) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="c" if mapped else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, f"cannot be read ({error})") from error
    if array.dtype != dtype or array.shape != shape:
        raise _damaged(path, f"holds {array.dtype} {array.shape}, not {dtype} {shape}")
    return array


def verify_packed(folder: Path, progress: Progress = silent) -> Manifest:
    """Compare every file with its SHA-256.

    Raises:
        DataDamaged: one differs; names it.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise _damaged(folder, "is not there")
    done = 0
    for name in ARRAYS:
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != manifest.files[name].sha256:
                raise _damaged(folder / name, "has been altered: its SHA-256 differs from the manifest's")
        done += manifest.files[name].bytes
        progress(Step(f"verify {folder.name}", done, manifest.bytes, "bytes"))
    pixels = [sum(channel) for channel in manifest.train_histogram]
    count, channels, height, width = manifest.shapes["train"]
    if manifest.fingerprint != fingerprint_of(manifest.files) or pixels != [count * height * width] * channels:
        raise _damaged(folder / MANIFEST, "has been altered: it contradicts itself")
    return manifest


def _damaged(path: Path, problem: str) -> DataDamaged:
    folder = path if path.is_dir() else path.parent
    return DataDamaged(
        f"{path}: {problem}",
        f"delete the folder {folder} and run again, which packs it anew; `tracker data verify` checks them all",
    )
