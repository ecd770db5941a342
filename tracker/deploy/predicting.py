"""Image files to predictions: found, decoded as the readers do, and put through a network in batches."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tracker.deploy.opening import Opened
from tracker.vision.readers.decoding import THREADS, reason_of
from tracker.vision.readers.pixels import decode
from tracker.vision.readers.scanning import EXTENSIONS


@dataclass(frozen=True)
class Prediction:
    """What a network makes of one image.

    Args:
        image: its path, as found.
        top: names of classes and their probabilities, the most probable first.
    """

    image: str
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Unreadable:
    """A path that gave no prediction, and why."""

    image: str
    reason: str


def predict(network: Opened, paths: Sequence[str], top: int) -> Iterator[Prediction | Unreadable]:
    """Predict files and folders, in order; what cannot be read stops nothing.

    Images are decoded to the size the network was trained on, a few at a time, so memory does not
    grow with their size beyond the largest few, nor with their number.

    Args:
        top: how many classes of each image.

    Raises:
        TrackerError: the network fails.
    """
    with ThreadPoolExecutor(THREADS, thread_name_prefix="decode") as pool:
        found = find_images(paths)
        while batch := [entry for _, entry in zip(range(network.batch), found, strict=False)]:

            def decoded(entry: str | Unreadable) -> np.ndarray | Unreadable:
                return entry if isinstance(entry, Unreadable) else _decoded(entry, network)

            results = list(pool.map(decoded, batch))
            readable = [image for image in results if isinstance(image, np.ndarray)]
            rows = iter(network.run(np.stack(readable)) if readable else ())
            for entry, result in zip(batch, results, strict=True):
                if isinstance(result, Unreadable):
                    yield result
                else:
                    assert isinstance(entry, str)
                    yield Prediction(entry, _top(next(rows), network.classes, top))


def _decoded(path: str, network: Opened) -> np.ndarray | Unreadable:
    """Return uint8, (C, S, S)."""
    try:
        return decode(path, network.channels, network.image_size)
    except MemoryError:
        return Unreadable(path, "there is not enough memory for it")
    except Exception as error:  # PIL raises nearly anything for a damaged file
        return Unreadable(path, reason_of(error))


def _top(row: np.ndarray, classes: Sequence[str], count: int) -> tuple[tuple[str, float], ...]:
    order = np.argsort(-row, kind="stable")[:count]  # of equals the first class
    return tuple((classes[place], float(row[place])) for place in order)


def find_images(paths: Sequence[str]) -> Iterator[str | Unreadable]:
    """Yield the images: files as given, and of folders, at any depth, those with an image's extension, by name.

    Hidden files and folders are passed over, and each real folder is read once.
    """
    for path in paths:
        if Path(path).is_dir():
            count = 0
            for found in _walk(path):
                count += isinstance(found, str)
                yield found
            if not count:
                yield Unreadable(path, f"a folder without images ({', '.join(EXTENSIONS)})")
        elif Path(path).is_file():
            yield path
        else:
            yield Unreadable(path, "is no file" if os.path.lexists(path) else "there is no such file")


def _walk(root: str) -> Iterator[str | Unreadable]:
    seen: set[tuple[int, int]] = set()
    pending = [root]
    while pending:
        path = pending.pop()
        if not Path(path).is_dir():
            yield path if Path(path).is_file() else Unreadable(path, "is no file")
            continue
        try:
            status = Path(path).stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(path) as entries:
                found = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            yield Unreadable(path, error.strerror or str(error))
            continue
        wanted = [entry.path for entry in found if Path(entry.path).is_dir() or entry.name.lower().endswith(EXTENSIONS)]
        pending += sorted(wanted, reverse=True)  # taken from the end
