"""Readers: one module a kind of dataset, from raw files to images and labels."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from tracker.study.extensions import find_extension
from tracker.vision.readers.raw import Reader

MODULES = {
    "cifar10": "cifar",
    "cifar100": "cifar",
    "svhn": "svhn",
    "tiny-imagenet-200": "tiny_imagenet",
    "digits": "digits",
    "folder": "folder",
}
"""Which module reads a built-in kind. Imported on demand: torchvision's datasets take seconds to import."""


def reader_of(kind: str) -> Reader:
    """Return the reader of one of the kinds a `DatasetSpec` accepts; an installed package's is imported.

    Raises:
        KeyError: there is none.
        TrackerError: two packages have this kind, or the one that has it cannot be used.
    """
    own = find_extension("tracker.datasets", kind, built_in=kind in MODULES)
    if own is not None:
        from tracker.vision.readers.installed import installed_reader

        return installed_reader(own)
    module = import_module(f"{__name__}.{MODULES[kind]}")
    return cast(Reader, module.READERS[kind])
