"""A dataset's raw form read as packing reads it, for the tests of the readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tracker.study.recipe import DatasetSpec
from tracker.vision.progress import silent
from tracker.vision.readers import reader_of
from tracker.vision.readers.raw import RawSet, RawSplit


def read(raw: Path, **spec: object) -> RawSet:
    """Read as packing does."""
    checked = DatasetSpec(**spec)  # type: ignore[arg-type]
    return reader_of(checked.kind).read("mine", checked, raw, silent)


def pixels(split: RawSplit) -> np.ndarray:
    """Return all images of a split, whose blocks must be of the shape promised."""
    images = np.concatenate(list(split.blocks()))
    assert images.shape == (len(split), *split.shape) and images.dtype == np.uint8
    return images


def folder(path: Path, **spec: object) -> RawSet:
    """Read a folder of images."""
    return read(path, kind="folder", path=str(path), **spec)
