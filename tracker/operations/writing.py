"""The files of a backup as they are written: copied with their hash, or linked to the backup before."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tracker.operations.contents import Opened
from tracker.operations.manifest import Entry, Manifest
from tracker.operations.verifying import digest

BLOCK = 1 << 20


@dataclass(frozen=True)
class Earlier:
    """An earlier backup of the same home, whose files may serve again.

    Args:
        entries: by path.
    """

    folder: Path
    entries: dict[str, Entry]

    @classmethod
    def of(cls, folder: Path, manifest: Manifest) -> Earlier:
        """Return what its manifest says."""
        return cls(folder, {entry.path: entry for entry in manifest.files})

    def same(self, path: str, status: os.stat_result) -> Entry | None:
        """Return the file of this path if it has the size and the time of change of a live one."""
        entry = self.entries.get(path)
        if entry is None or entry.size != status.st_size:
            return None
        try:
            kept = (self.folder / path).lstat()
        except OSError:
            return None
        return entry if (kept.st_size, kept.st_mtime_ns) == (status.st_size, status.st_mtime_ns) else None


@dataclass
class Writer:
    """Writes files into a backup that is being made.

    Args:
        folder: of the backup.
        linked: paths that are links to the earlier backup's files; their bytes were compared.
        linked_bytes: of these together.
    """

    folder: Path
    earlier: Earlier | None = None
    entries: list[Entry] = field(default_factory=list)
    linked: set[str] = field(default_factory=set)
    linked_bytes: int = 0

    def file(self, source: Path, path: str) -> None:
        """Take one live file; one that was removed meanwhile is passed over."""
        try:
            with open(source, "rb") as file:
                entry = self.earlier.same(path, os.fstat(file.fileno())) if self.earlier else None
                if entry is None or not self._link(entry):
                    self.opened(Opened(source, file), path)
        except FileNotFoundError:
            if source.exists():
                raise

    def opened(self, opened: Opened, path: str) -> None:
        """Take one file that is held open."""
        target = self._place(path)
        size, sha256 = copy_hashed(opened.file, target, opened.size)
        status = os.fstat(opened.file.fileno())
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        target.chmod(status.st_mode & 0o777)
        self.entries.append(Entry(path=path, size=size, sha256=sha256))

    def made(self, path: str, make: Callable[[Path], None]) -> Path:
        """Take a file that `make` writes at the path it is given; return where it is."""
        target = self._place(path)
        make(target)
        self.entries.append(Entry(path=path, size=target.stat().st_size, sha256=digest(target)))
        return target

    def _link(self, entry: Entry) -> bool:
        """Link the earlier backup's file, if it still is what it was; say whether that was done.

        Never a live file: one that is written in place would change the backup.
        """
        assert self.earlier is not None
        target = self._place(entry.path)
        try:
            os.link(self.earlier.folder / entry.path, target)
        except OSError:  # another file system, or one without links
            return False
        if digest(target) != entry.sha256:
            target.unlink()
            return False
        self.entries.append(entry)
        self.linked.add(entry.path)
        self.linked_bytes += entry.size
        return True

    def _place(self, path: str) -> Path:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


def copy_hashed(file: BinaryIO, target: Path, size: int | None = None) -> tuple[int, str]:
    """Copy a file to its end, or the first `size` bytes of it; return how many bytes, and their SHA-256.

    Writes: `target`, which must not exist.
    """
    sha256, copied = hashlib.sha256(), 0
    with open(target, "xb") as copy:
        while block := file.read(BLOCK if size is None else min(BLOCK, size - copied)):
            sha256.update(block)
            copy.write(block)
            copied += len(block)
    return copied, sha256.hexdigest()


def free_bytes(folder: Path) -> int:
    """Return how much is free where a folder is or would be."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(there).free
