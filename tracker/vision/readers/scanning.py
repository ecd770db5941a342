"""What lies in a folder of images, by split and class, before any image is opened.

Classes are sorted by name, images by path, so a folder reads the same on every file system.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tracker.study.errors import DataError, DataMissing
from tracker.study.printing import printable

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff")
"""In any case."""
PICTURES = re.compile(
    r"\.(heic|heif|avif|jxl|jp2|j2k|jfif|jpe|ppm|pgm|pbm|pnm|tga|dds|psd|svg|ico|exr|hdr|dng|cr2|cr3|nef|arw|orf|rw2|raf"
    r"|dcm|nii|npy|npz|mat|fits)"
)
"""Other files that hold pictures, which whoever put them there may expect to be read."""
NOT_READ = "is not read"
NOT_CLASSES = frozenset({"__MACOSX"})
"""Folders that archivers leave behind."""
SPLITS = ("train", "test")
SPLIT_WORDS = frozenset(
    {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation"}
)
"""In any case. A folder that has these alone is of splits, not of classes."""


@dataclass
class Tally:
    """What a scan has met: the images, and what it passed over.

    Args:
        listing: a line for each image: path, size, modification.
        passed_over: (path, reason) of files and folders that are hidden or hold no image.
    """

    listing: list[str] = field(default_factory=list)
    bytes: int = 0
    passed_over: list[tuple[str, str]] = field(default_factory=list)

    @property
    def skipped(self) -> int:
        """How many were passed over."""
        return len(self.passed_over)

    def pass_over(self, entry: os.DirEntry[str], reason: str) -> None:
        """Take down what is no image."""
        self.passed_over.append((entry.path, reason))


@dataclass(frozen=True)
class Scan:
    """A folder's images by split and class, before any is opened.

    Args:
        splits: `train` and `test`, or `` for a folder without them: class -> paths, both sorted.
    """

    root: Path
    splits: dict[str, dict[str, list[str]]]
    tally: Tally

    def classes(self) -> list[str]:
        """Return the names of the class folders of all splits, sorted."""
        return sorted({label for found in self.splits.values() for label in found})

    def paths(self, classes: Iterable[str]) -> list[str]:
        """Return the images of these classes, each of which must be in every split."""
        wanted = list(classes)
        return [path for found in self.splits.values() for label in wanted for path in found[label]]

    def without(self, paths: Container[str]) -> Scan:
        """Return the same without some of the images."""
        splits = {
            split: {label: [path for path in images if path not in paths] for label, images in found.items()}
            for split, found in self.splits.items()
        }
        return Scan(self.root, splits, self.tally)


def scan_folder(name: str, root: Path) -> Scan:
    """Find a folder's images; symbolic links are followed, each real folder once a class.

    Raises:
        DataMissing: there is no such folder.
        DataError: it has train/ without test/, or the other way round, or splits of other names, or no folder of
            images at all, or cannot be read.
    """
    try:
        if not root.is_dir():
            raise DataMissing(
                f"{printable(str(root))}: there is no such folder of images", f"--set datasets.{name}.path=FOLDER"
            )
        return _scan(root)
    except OSError as error:
        where = printable(os.fsdecode(error.filename or root))
        raise DataError(f"{where}: cannot be read: {error.strerror}") from error


def _scan(root: Path) -> Scan:
    tally = Tally()
    found = [name for name in SPLITS if (root / name).is_dir()]
    if len(found) == 1:
        other = "test" if found == ["train"] else "train"
        raise DataError(
            f"{root}: has {found[0]}/ but no {other}/",
            f"add {other}/CLASS/*, or give a folder of CLASS/* alone, which is then split by class",
        )
    if found:
        for entry in _sorted(root):
            if entry.name not in SPLITS:
                tally.pass_over(entry, "hidden" if entry.name.startswith(".") else "lies beside train/ and test/")
    splits = {name: _scan_classes(root / name, root, tally) for name in found or [""]}
    words = sorted({label for label in splits.get("", ()) if label.casefold() in SPLIT_WORDS})
    if words and (len(words) == len(splits[""]) or {word.casefold() for word in words} >= set(SPLITS)):
        raise DataError(
            f"{root}: {', '.join(f'{word}/' for word in words)} look like splits, not like classes",
            "name two of them train/ and test/, in small letters, with the classes' folders inside",
        )
    return Scan(root, splits, tally)


def _sorted(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _scan_classes(folder: Path, root: Path, tally: Tally) -> dict[str, list[str]]:
    above = {_identity(root), _identity(folder)}
    classes = {}
    for entry in _sorted(folder):
        if entry.name.startswith("."):
            tally.pass_over(entry, "hidden")
        elif entry.name in NOT_CLASSES:
            tally.pass_over(entry, "left by an archiver")
        elif not _is_folder(entry):
            tally.pass_over(entry, "lies outside the class folders")
        else:
            classes[entry.name] = sorted(_images(entry.path, set(above), tally))
    if not classes:
        raise DataError(f"{folder}: has no folders, so no classes", "put the images of each class into one: CLASS/*")
    return classes


def _images(folder: str, seen: set[tuple[int, int]], tally: Tally) -> Iterator[str]:
    """Give the images below `folder`; `seen` keeps a link to a folder already read from being followed."""
    pending = [Path(folder)]
    while pending:
        current = pending.pop()
        identity = _identity(current)
        if identity in seen:
            tally.passed_over.append((str(current), "a folder that was read already"))
            continue
        seen.add(identity)
        for entry in _sorted(current):
            if entry.name.startswith("."):
                tally.pass_over(entry, "hidden")
            elif _is_folder(entry):
                pending.append(Path(entry.path))
            elif not entry.name.lower().endswith(EXTENSIONS):
                tally.pass_over(entry, _kind(entry.name))
            elif _count(entry, tally):
                yield entry.path
            else:
                tally.pass_over(entry, "a pipe, a socket or a device")


def _kind(name: str) -> str:
    extension = printable(Path(name).suffix.lower())
    if PICTURES.fullmatch(extension):
        return f"{extension} {NOT_READ}"
    return f"{extension} is no image" if extension else "without an extension"


def alike(name: str) -> str:
    """Return what two names have in common that differ in case or in Unicode form alone."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


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
