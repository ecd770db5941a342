"""What a user asks advice on, and the names that follow from it."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tracker.advise.source import ChosenSource
from tracker.study.errors import DataError, DataMissing
from tracker.study.printing import printable
from tracker.study.recipe import DatasetSpec
from tracker.study.study import content_id
from tracker.vision.readers import reader_of

Tune = Literal["full", "head", "head+bn"]

SLUG_LENGTH = 24
HASH_LENGTH = 8
"""Hex digits of a dataset's name; two of a user's folders have the same by chance once in 4 billion pairs."""


@dataclass(frozen=True)
class Request:
    """What is asked.

    Args:
        root: the folder of images, resolved.
        source: where the network starts from.
        tune: what of it learns.
        image_size: pixels a side to store images at; None for what the look suggests.
        skip_unreadable: leave files out that cannot be decoded.
    """

    root: Path
    source: ChosenSource
    tune: Tune
    image_size: int | None = None
    skip_unreadable: bool = False

    @property
    def spec(self) -> DatasetSpec:
        """What the folder is read with, as far as it is known before the look."""
        return DatasetSpec(
            kind="folder",
            path=str(self.root),
            image_size=self.image_size,
            channels=1 if self.source.channels == 1 else None,
        )


@dataclass(frozen=True)
class Names:
    """What a request is known by: equal for the same question about the same files, on the same machine.

    Args:
        study: in ledger and MLflow.
        dataset: in the study; shared by requests that read the folder alike, which then pack it once.
    """

    study: str
    dataset: str


def resolve_root(path: Path) -> Path:
    """Return a folder's real path.

    Raises:
        DataMissing: nothing is there, or a link leads to itself.
        DataError: it is a file, or its path is not UTF-8, which a study cannot hold.
    """
    shown = printable(str(path))
    try:
        root = path.expanduser().resolve()
        is_folder, is_there = root.is_dir(), root.exists()
    except (OSError, RuntimeError, ValueError) as error:  # no right to look, a link to itself, a zero byte
        raise DataMissing(f"{shown}: cannot be found: {printable(str(error))}") from error
    cure = "give the folder that holds train/ and test/, or a folder for each class"
    if not is_there:
        raise DataMissing(f"{shown}: there is no such folder of images", cure)
    if not is_folder:
        raise DataError(f"{shown}: is a file, not a folder of images", cure)
    try:
        str(root).encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{printable(str(root))}: has a name that is not UTF-8", "rename it, or give a link to it by another name"
        ) from error
    return root


def names_of(request: Request) -> Names:
    """Return the names of a request's study and dataset.

    They follow from the folder, what lies in it (names, sizes and times of its files), how it is read, the source and
    what is tuned; not from budget or speed, so the same question is found again and gone on with.

    Raises:
        DataError: the folder holds no classes, or cannot be read.
    """
    listing = reader_of("folder").origin("mine", request.spec)
    reading = {
        "folder": listing,
        "image_size": request.image_size,
        "channels": request.spec.channels,
        "skip_unreadable": request.skip_unreadable,
    }
    own = slug(request.root.name)
    question = {"reading": reading, "source": request.source.identity, "tune": request.tune}
    return Names(
        study=f"advise-{own}-{content_id(question)}",
        dataset=f"{own}-{content_id(reading)[:HASH_LENGTH]}",
    )


def slug(text: str) -> str:
    """Return what is left of a name as small letters, digits and dashes; `images` where nothing is."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:SLUG_LENGTH].rstrip("-") or "images"
