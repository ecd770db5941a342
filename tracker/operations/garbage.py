"""What `tracker gc` finds, in groups that each have one reason, and how a part of it is removed."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tracker.operations.leftovers import remove_tree

RECENT_SECONDS = 3600.0
"""What was written within this time is never garbage: a process may be about to use it."""


@dataclass(frozen=True)
class Item:
    """One thing that can go.

    Args:
        name: as it is shown.
        bytes: it frees.
        remove: removes it; says whether it was still garbage.
    """

    name: str
    bytes: int
    remove: Callable[[], bool]


@dataclass
class Group:
    """Things that can go for one reason.

    Args:
        what: in a few words, plural.
        why: it is safe.
    """

    what: str
    why: str
    items: list[Item] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """What all of them free."""
        return sum(item.bytes for item in self.items)


@dataclass(frozen=True)
class Size:
    """Of a file, or of all files below a folder.

    Args:
        newest: when the last of it was written, seconds since 1970.
    """

    bytes: int
    newest: float

    def older_than(self, seconds: float) -> bool:
        """Say whether nothing of it was written for so long."""
        return time.time() - self.newest > seconds


def measure(path: Path) -> Size:
    """Measure a file or a folder; follows no link. What is gone has size 0 and is new."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return Size(0, time.time())
    if not stat.S_ISDIR(status.st_mode):
        return Size(status.st_size, status.st_mtime)
    size, newest = 0, status.st_mtime
    for folder, folders, files in os.walk(path):
        for name in [*folders, *files]:
            try:
                found = os.lstat(os.path.join(folder, name))  # noqa: PTH118 (a hundred thousand Paths take seconds)
            except FileNotFoundError:
                continue
            newest = max(newest, found.st_mtime)
            size += 0 if stat.S_ISDIR(found.st_mode) else found.st_size
    return Size(size, newest)


def path_item(path: Path, root: Path, size: Size | None = None, age: float = RECENT_SECONDS) -> Item:
    """Make an item of a file or folder, which is left if it is written to before its turn comes.

    Args:
        age: seconds for which nothing may have been written to it.
    """
    measured = size or measure(path)

    def remove() -> bool:
        if not path.exists() or not measure(path).older_than(age):
            return False
        remove_path(path)
        return True

    return Item(str(path.relative_to(root)) if path.is_relative_to(root) else str(path), measured.bytes, remove)


def remove_path(path: Path) -> None:
    """Remove a file, or a folder that loses its name first."""
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)
