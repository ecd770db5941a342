"""Many image files at once: a few threads, progress, and every failure told."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import UnidentifiedImageError

from tracker.study.errors import DataDamaged
from tracker.study.printing import printable
from tracker.vision.progress import Progress, Step, silent
from tracker.vision.readers.pixels import FORMATS
from tracker.vision.readers.raw import BLOCK, block_size

THREADS = min(8, os.cpu_count() or 1)
"""PIL lets other threads run while it decodes; beyond this, Python itself is the limit."""

NAMED = 10
"""Unreadable files named in an error; the rest are counted."""

CURE = "replace these files, or remove them"

Found = TypeVar("Found")


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be read.

    Args:
        reason: a clause for whoever owns it, printable.
    """

    name: str
    reason: str


def attempt_each(
    names: Sequence[str],
    work: Callable[[str], Found],
    *,
    block: int = BLOCK,
    task: str = "",
    progress: Progress = silent,
) -> Iterator[list[Found | Unreadable]]:
    """Do `work` on every image's name in a few threads; give what came of each in order, block by block.

    Args:
        block: images a block, which are all in memory at once.
    """

    def attempt(name: str) -> Found | Unreadable:
        try:
            return work(name)
        except MemoryError:
            raise
        except Exception as error:  # PIL raises nearly anything for a damaged file
            return Unreadable(name, reason_of(error))

    with ThreadPoolExecutor(THREADS, thread_name_prefix="decode") as pool:
        progress(Step(task, 0, len(names), "images"))
        for first in range(0, len(names), block):
            with warnings.catch_warnings():  # PIL remarks on odd files that it reads all the same
                warnings.filterwarnings("ignore", module=r"PIL\.")
                results = list(pool.map(attempt, names[first : first + block]))
            progress(Step(task, first + len(results), len(names), "images"))
            yield results


def for_each(
    names: Sequence[str],
    work: Callable[[str], Found],
    *,
    block: int = BLOCK,
    task: str = "",
    progress: Progress = silent,
    cure: str = CURE,
) -> Iterator[list[Found]]:
    """Do `work` on every image's name as `attempt_each`, where all must succeed.

    A failure does not stop the others, so that one look shows them all.

    Args:
        cure: of the error.

    Raises:
        DataDamaged: at the end, where `work` failed; names the first ten and counts them all.
    """
    failures: list[Unreadable] = []
    for results in attempt_each(names, work, block=block, task=task, progress=progress):
        failures += [result for result in results if isinstance(result, Unreadable)]
        if not failures:
            yield [result for result in results if not isinstance(result, Unreadable)]
    if failures:
        raise unreadable_error(failures, len(names), cure)


def unreadable_error(failures: Sequence[Unreadable], count: int, cure: str) -> DataDamaged:
    """Return the error that names the first ten of the failures among `count` images."""
    ordered = sorted(failures, key=lambda failure: failure.name)
    lines = [f"    {printable(failure.name)}: {failure.reason}" for failure in ordered[:NAMED]]
    if len(failures) > NAMED:
        lines.append(f"    ... and {len(failures) - NAMED} more")
    return DataDamaged("\n".join([f"{len(failures)} of {count:,} images cannot be read:", *lines]), cure)


def reason_of(error: Exception) -> str:
    """Say in a clause why an image cannot be read; PIL's own words where they are not about its insides."""
    if isinstance(error, UnidentifiedImageError):
        return f"is no {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, (OSError, ValueError)) and str(error):
        return printable(str(error))
    return printable(f"is damaged ({type(error).__name__}: {error})")


def decoded(
    names: Sequence[str], decode_one: Callable[[str], np.ndarray], shape: tuple[int, int, int], *, cure: str = CURE
) -> Iterator[np.ndarray]:
    """Decode images block by block.

    Args:
        decode_one: gives uint8, (C, H, W), of this `shape`.

    Returns:
        uint8, (n, C, H, W), in the order of the names.

    Raises:
        DataDamaged: as `for_each`.
    """
    for images in for_each(names, decode_one, block=block_size(shape), cure=cure):
        yield np.stack(images)
