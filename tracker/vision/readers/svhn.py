"""Street View House Numbers (cropped digits), by torchvision's own class."""

from __future__ import annotations

from pathlib import Path

from torchvision.datasets import SVHN

from tracker.study.recipe import DatasetSpec
from tracker.vision.fetch import Download
from tracker.vision.progress import Progress
from tracker.vision.readers.raw import Facts, RawFile, RawSet, RawSplit, Reader, asked_shape, split_from_arrays

SPLITS = ("train", "test")
FILE_BYTES = {"train_32x32.mat": 182_040_794, "test_32x32.mat": 64_275_384}


class Svhn(Reader):
    """Read the two MATLAB files; the third, `extra`, is not part of the benchmark."""

    def files(self) -> tuple[RawFile, ...]:
        """Return the two files."""
        return tuple(RawFile(name, md5) for _, name, md5 in (SVHN.split_list[split] for split in SPLITS))

    def downloads(self) -> tuple[Download, ...]:
        """Return the two files, from the addresses and with the checksums that torchvision declares."""
        entries = (SVHN.split_list[split] for split in SPLITS)
        return tuple(Download(url, name, "md5", md5, FILE_BYTES[name]) for url, name, md5 in entries)

    def facts(self, spec: DatasetSpec) -> Facts:
        """Return the published sizes, the images as the spec asks for them."""
        return Facts(73_257, 26_032, 10, asked_shape(spec, (3, 32, 32)))

    def read(self, name: str, spec: DatasetSpec, raw: Path, progress: Progress) -> RawSet:
        """Read both files into memory: 305 MB."""

        def split(which: str) -> RawSplit:
            found = SVHN(raw, split=which, download=False)
            return split_from_arrays(found.data, found.labels.reshape(-1), spec)

        return RawSet(split("train"), split("test"), tuple(str(digit) for digit in range(10)))


READERS = {"svhn": Svhn()}
