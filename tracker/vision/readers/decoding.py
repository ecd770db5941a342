"""Many image files at once: a few threads, progress, and every failure told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from tracker.study.errors import DataDamaged
from tracker.vision.progress import Progress, Step, silent
from tracker.vision.readers.raw import BLOCK, block_size

THREADS = min(8, os.cpu_count() or 1)
"""PIL lets other threads run while it decodes; beyond this, Python itself is the limit."""

NAMED = 10
"""Unreadable files named in an error; the rest are counted."""

Found = TypeVar("Found")


def for_each(
    names: Sequence[str],
    work: Callable[[str], Found],
    *,
    block: int = BLOCK,
    task: str = "",
    progress: Progress = silent,
) -> Iterator[list[Found]]:
    """Do `work` on every image's name in a few threads; give the results in order, block by block.

    A failure does not stop the others, so that one look shows them all.

    Args:
        block: images a block, which are all in memory at once.

    Raises:
        DataDamaged: at the end, where `work` failed; names the first ten and counts them all.
    """
    failures: dict[str, Exception] = {}

    def attempt(name: str) -> Found | None:
        try:
            return work(name)
        except MemoryError:
            raise
        except Exception as error:  # PIL raises nearly anything for a damaged file
            failures[name] = error
            return None

    with ThreadPoolExecutor(THREADS, thread_name_prefix="decode") as pool:
        progress(Step(task, 0, len(names), "images"))
        for first in range(0, len(names), block):
            results = list(pool.map(attempt, names[first : first + block]))
            progress(Step(task, first + len(results), len(names), "images"))
            if not failures:
                yield [result for result in results if result is not None]
    if failures:
        raise _unreadable(failures, len(names))


def _unreadable(failures: dict[str, Exception], count: int) -> DataDamaged:
    lines = [f"    {name}: {failures[name] or type(failures[name]).__name__}" for name in sorted(failures)[:NAMED]]
    if len(failures) > NAMED:
        lines.append(f"    ... and {len(failures) - NAMED} more")
    message = "\n".join([f"{len(failures)} of {count:,} images cannot be read:", *lines])
    return DataDamaged(message, "replace these files, or remove them")


def decoded(
    names: Sequence[str], decode_one: Callable[[str], np.ndarray], shape: tuple[int, int, int]
) -> Iterator[np.ndarray]:
    """Decode images block by block.

    Args:
        decode_one: gives uint8, (C, H, W), of this `shape`.

    Returns:
        uint8, (n, C, H, W), in the order of the names.

    Raises:
        DataDamaged: as `for_each`.
    """
    for images in for_each(names, decode_one, block=block_size(shape)):
        yield np.stack(images)
