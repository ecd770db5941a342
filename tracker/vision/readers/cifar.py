"""CIFAR-10 and CIFAR-100, by torchvision's own classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR10, CIFAR100

from tracker.study.recipe import DatasetSpec
from tracker.vision.fetch import Download, extract_tar
from tracker.vision.progress import Progress
from tracker.vision.readers.raw import Facts, RawFile, RawSet, RawSplit, Reader, asked_shape, split_from_arrays

ARCHIVE_BYTES = {"cifar-10-python.tar.gz": 170_498_071, "cifar-100-python.tar.gz": 169_001_437}


class Cifar(Reader):
    """Read the python version of the archive, its batches pickled.

    Unpickling runs code, so torchvision compares every file with its published MD5 before.

    Args:
        dataset: torchvision's class, which knows URL, files and checksums.
        classes: K.
    """

    def __init__(self, dataset: type[CIFAR10], classes: int) -> None:
        self.dataset, self.classes = dataset, classes

    def files(self) -> tuple[RawFile, ...]:
        """Return the batches and the file of class names."""
        folder, meta = self.dataset.base_folder, self.dataset.meta
        batches = [*self.dataset.train_list, *self.dataset.test_list, (meta["filename"], meta["md5"])]
        return tuple(RawFile(f"{folder}/{name}", md5) for name, md5 in batches)

    def downloads(self) -> tuple[Download, ...]:
        """Return the archive, from the address and with the checksum that torchvision declares."""
        name = self.dataset.filename
        return (Download(self.dataset.url, name, "md5", self.dataset.tgz_md5, ARCHIVE_BYTES[name]),)

    def unpack(self, raw: Path) -> None:
        """Extract the archive."""
        extract_tar(raw / self.dataset.filename, raw)

    def facts(self, spec: DatasetSpec) -> Facts:
        """Return the published sizes, the images as the spec asks for them."""
        return Facts(50_000, 10_000, self.classes, asked_shape(spec, (3, 32, 32)))

    def read(self, name: str, spec: DatasetSpec, raw: Path, progress: Progress) -> RawSet:
        """Read all batches into memory: 184 MB."""

        def split(train: bool) -> tuple[RawSplit, list[str]]:
            found = self.dataset(raw, train=train, download=False)
            images = found.data.transpose(0, 3, 1, 2)  # (N, C, H, W)
            return split_from_arrays(images, np.array(found.targets), spec), found.classes

        (train, classes), (test, _) = split(True), split(False)
        return RawSet(train, test, tuple(classes))


READERS = {"cifar10": Cifar(CIFAR10, 10), "cifar100": Cifar(CIFAR100, 100)}
