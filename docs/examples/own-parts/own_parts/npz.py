"""A kind of dataset: images and labels in one .npz file, as `numpy.savez` writes it.

The file holds `images`, uint8, (N, H, W) or (N, H, W, C), and `labels`, integers (N,); a share of every class is
held out for the test. Or it holds `train_images`, `train_labels`, `test_images` and `test_labels`. `classes`, the
names in the order of the labels, may be there too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tracker.study.errors import DataDamaged, DataError
from tracker.study.recipe import DatasetSpec
from tracker.vision.progress import Progress
from tracker.vision.readers.raw import RawSet, RawSplit, Reader, folder_path, held_out, split_from_arrays

TEST_FRACTION = 0.2


class Npz(Reader):
    """Read an .npz file."""

    takes = ("path", "test_fraction", "split_seed")
    needs = ("path",)

    def read(self, name: str, spec: DatasetSpec, raw: Path, progress: Progress) -> RawSet:
        """Read the file that `path` names; nothing in it is executed."""
        path = folder_path(spec)
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
        except (OSError, ValueError, EOFError) as error:
            raise DataDamaged(f"{path}: cannot be read as .npz: {error}") from error
        if {"train_images", "train_labels", "test_images", "test_labels"} <= set(arrays):
            if spec.test_fraction is not None:
                raise DataError(f"dataset {name}: {path} has its own test images", "leave `test_fraction` out")
            given = [(arrays[f"{split}_images"], arrays[f"{split}_labels"]) for split in ("train", "test")]
            classes = _classes(arrays, given[0][1])
        elif {"images", "labels"} <= set(arrays):
            images, labels = arrays["images"], arrays["labels"]
            classes = _classes(arrays, labels)
            test = held_out(labels, spec.test_fraction or TEST_FRACTION, spec.split_seed, classes)
            given = [(images[~test], labels[~test]), (images[test], labels[test])]
        else:
            raise DataError(
                f"dataset {name}: {path} holds {', '.join(arrays) or 'nothing'}",
                "it needs images and labels, or train_images, train_labels, test_images and test_labels",
            )
        train, test_split = (_split(path, images, labels, spec) for images, labels in given)
        return RawSet(train, test_split, classes)


def _split(path: Path, images: np.ndarray, labels: np.ndarray, spec: DatasetSpec) -> RawSplit:
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(f"{path}: images are {images.dtype} {images.shape}, not uint8 (N, H, W) or (N, H, W, C)")
    if len(images) != len(labels):
        raise DataError(f"{path}: {len(images):,} images, {len(labels):,} labels")
    channels_first = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return split_from_arrays(channels_first, labels, spec)  # resized as image_size and channels ask for


def _classes(arrays: dict[str, np.ndarray], labels: np.ndarray) -> tuple[str, ...]:
    names = arrays["classes"] if "classes" in arrays else range(int(labels.max(initial=-1)) + 1)
    return tuple(str(name) for name in names)
