"""Readers: one module a kind of dataset, from raw files to images and labels."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from tracker.vision.readers.raw import Reader

MODULES = {
    "cifar10": "cifar",
    "cifar100": "cifar",
    "svhn": "svhn",
    "tiny-imagenet-200": "tiny_imagenet",
    "digits": "digits",
    "folder": "folder",
}
"""Which module reads a kind. Imported on demand: torchvision's datasets take seconds to import."""


def reader_of(kind: str) -> Reader:
    """Return the reader of one of the kinds a `DatasetSpec` accepts. Raises: KeyError."""
    module = import_module(f"{__name__}.{MODULES[kind]}")
    return cast(Reader, module.READERS[kind])
