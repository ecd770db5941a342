"""Tiny ImageNet-200, straight from its official archive: nothing of it is written out."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from tracker.study.errors import DataDamaged, DataError
from tracker.study.recipe import DatasetSpec
from tracker.vision.fetch import Download
from tracker.vision.progress import Progress
from tracker.vision.readers.decoding import decoded
from tracker.vision.readers.pixels import decode
from tracker.vision.readers.raw import Facts, RawFile, RawSet, RawSplit, Reader, asked_shape

URL = "https://cs231n.stanford.edu/tiny-imagenet-200.zip"
ARCHIVE = "tiny-imagenet-200.zip"
ARCHIVE_BYTES = 248_100_043
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
SHAPE = (3, 64, 64)
ROOT = "tiny-imagenet-200"
MAX_ENTRIES = 200_000
MAX_ENTRY_BYTES = 4 << 20
"""The archive has 120,609 entries; its largest, words.txt, has 2.7 MB."""


class TinyImageNet(Reader):
    """Read the archive: `train` for training, `val` with its annotations for test.

    The archive's own `test` has no labels. Its few grayscale files become RGB.
    """

    def files(self) -> tuple[RawFile, ...]:
        """Return the archive itself."""
        return (RawFile(ARCHIVE, MD5),)

    def downloads(self) -> tuple[Download, ...]:
        """Return the archive."""
        return (Download(URL, ARCHIVE, "md5", MD5, ARCHIVE_BYTES),)

    def facts(self, spec: DatasetSpec) -> Facts:
        """Return the published sizes, the images as the spec asks for them."""
        return Facts(100_000, 10_000, 200, asked_shape(spec, SHAPE))

    def read(self, name: str, spec: DatasetSpec, raw: Path, progress: Progress) -> RawSet:
        """Read names and labels; images are decoded as they are asked for."""
        path = raw / ARCHIVE
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise DataDamaged(f"{path}: is not a zip archive ({error})", f"tracker data fetch {ROOT}") from error
        try:
            _check_bounds(path, archive)
            wnids = sorted(_lines(archive, "wnids.txt"))
            label_of = {wnid: label for label, wnid in enumerate(wnids)}
            train, test = _train_images(archive, label_of), _test_images(archive, label_of)
            classes = _class_names(archive, wnids)
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise DataDamaged(f"{path}: is not Tiny ImageNet-200: {error}", f"tracker data fetch {ROOT}") from error
        shape = asked_shape(spec, SHAPE)

        def split(images: dict[str, int]) -> RawSplit:
            def read_one(entry: str) -> np.ndarray:
                image = decode(archive.read(entry), shape[0], spec.image_size)
                if image.shape != shape:
                    raise DataError(f"is {image.shape[2]}x{image.shape[1]} pixels, not {shape[2]}x{shape[1]}")
                return image

            def blocks() -> Iterable[np.ndarray]:
                return decoded(tuple(images), read_one, shape)

            return RawSplit(np.array(list(images.values()), dtype=np.int64), shape, blocks)

        return RawSet(split(train), split(test), classes)


def _check_bounds(path: Path, archive: zipfile.ZipFile) -> None:
    entries = archive.infolist()
    largest = max((entry.file_size for entry in entries), default=0)
    if len(entries) > MAX_ENTRIES or largest > MAX_ENTRY_BYTES:
        raise DataDamaged(
            f"{path}: has {len(entries):,} entries, the largest of {largest:,} bytes; "
            f"Tiny ImageNet-200 has at most {MAX_ENTRIES:,} of {MAX_ENTRY_BYTES:,}",
            f"delete it, then: tracker data fetch {ROOT}",
        )


def _lines(archive: zipfile.ZipFile, name: str) -> Iterator[str]:
    text = archive.read(f"{ROOT}/{name}").decode("utf-8")
    return (line for line in text.splitlines() if line.strip())


def _train_images(archive: zipfile.ZipFile, label_of: dict[str, int]) -> dict[str, int]:
    """Return entry -> label of `train/WNID/images/*.JPEG`, in the order of the labels, then of the names."""
    images = {}
    for name in archive.namelist():
        match PurePosixPath(name).parts:
            case (root, "train", wnid, "images", file) if root == ROOT and file.upper().endswith(".JPEG"):
                images[name] = label_of[wnid]
    if missing := set(label_of.values()) - set(images.values()):
        raise ValueError(f"{len(missing)} of {len(label_of)} classes have no training image")
    return dict(sorted(images.items(), key=lambda item: (item[1], item[0])))


def _test_images(archive: zipfile.ZipFile, label_of: dict[str, int]) -> dict[str, int]:
    """Return entry -> label of `val/images/*.JPEG`, in the order of the annotations."""
    images = {}
    for line in _lines(archive, "val/val_annotations.txt"):
        file, wnid, *_ = line.split("\t")
        entry = archive.getinfo(f"{ROOT}/val/images/{file}")
        images[entry.filename] = label_of[wnid.strip()]
    if not images:
        raise ValueError("val/val_annotations.txt names no image")
    return images


def _class_names(archive: zipfile.ZipFile, wnids: list[str]) -> tuple[str, ...]:
    """Return each class's first word, with its wnid where that word or all words are wanting."""
    try:
        words = dict(line.split("\t", 1) for line in _lines(archive, "words.txt"))
    except KeyError:
        return tuple(wnids)
    names = [words.get(wnid, wnid).split(",")[0].strip() for wnid in wnids]
    shared = {name for name, count in Counter(names).items() if count > 1}
    return tuple(f"{name} ({wnid})" if name in shared else name for name, wnid in zip(names, wnids, strict=True))


READERS = {"tiny-imagenet-200": TinyImageNet()}
