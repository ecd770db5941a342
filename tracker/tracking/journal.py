"""The journal: what happens to a run is on disk before it is sent, and stays until it has arrived."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.tracking.events import Event, Open, from_line, to_line

SUFFIX, FILES, REFUSED = ".jsonl", ".files", ".refused"

log = logging.getLogger(__name__)


class Journal:
    """One run's events, a line each, in a file that its owner holds locked.

    The lock is the kernel's, on the file itself: it ends with the process, however that ends, so
    a journal that can be locked has been left behind.

    Args:
        path: the file.
        descriptor: of that file, open and locked.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.problems: list[str] = []
        self.events = self._read()

    @classmethod
    def claim(cls, folder: Path, name: str) -> Journal:
        """Take the journal `name`, new or left behind; under another name if a living process holds it."""
        for number in range(1, 100):
            path = folder / f"{name}{f'.{number}' if number > 1 else ''}{SUFFIX}"
            if journal := cls.take(path, create=True):
                return journal
        raise TrackingError(f"{folder / name}{SUFFIX}: a hundred processes hold it and its siblings")

    @classmethod
    def take(cls, path: Path, create: bool = False) -> Journal | None:
        """Lock and read one journal; None if a living process holds it, or it is gone."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o644)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            still_there = os.path.samestat(os.fstat(descriptor), path.stat())
        except (BlockingIOError, FileNotFoundError):
            still_there = False
        if not still_there:  # held by another, or removed by its last owner just before we locked it
            os.close(descriptor)
            return None
        return cls(path, descriptor)

    @property
    def files(self) -> Path:
        """Files that wait to be sent."""
        return self.path.with_suffix(FILES)

    def append(self, event: Event, sync: bool = False) -> None:
        """Write one event.

        A full disk costs the safety net, not the training: it is warned of, and no half line stays.

        Args:
            sync: wait until the disk has it.
        """
        size = os.fstat(self._descriptor).st_size
        try:
            line = to_line(event)
            if os.write(self._descriptor, line) != len(line):
                raise OSError("the line was cut short: is the disk full?")
            if sync:
                os.fsync(self._descriptor)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, size)
            log.warning("%s: %s; this result is safe only once MLflow has it", self.path, error)

    def keep(self, file: Path) -> str:
        """Hold on to a file until it has been sent; return its path within `files`.

        It is a hard link where the file system allows: free of cost, and untouched by a later
        version that is renamed into the original's place.

        Raises:
            TrackingError: there is no such file.
        """
        number = sum(1 for _ in self.files.iterdir()) if self.files.is_dir() else 0
        place = self.files / str(number)
        try:
            place.mkdir(parents=True)
            try:
                os.link(file, place / file.name)
            except OSError:
                shutil.copy2(file, place / file.name)
        except OSError as error:
            raise TrackingError(f"{file}: cannot be logged: {error.strerror}") from error
        return f"{number}/{file.name}"

    def close(self) -> None:
        """Let go of the journal; it stays for `replay`."""
        os.close(self._descriptor)

    def remove(self) -> None:
        """Remove the journal and its files, all delivered."""
        self.path.unlink(missing_ok=True)  # first: without it, files left by a kill are known to be of no use
        shutil.rmtree(self.files, ignore_errors=True)
        self.close()

    def set_aside(self) -> None:
        """Keep the journal under a name that `replay` passes over: MLflow refused a part of it."""
        with suppress(OSError):
            os.replace(self.path, self.path.with_suffix(REFUSED))
        self.close()

    def _read(self) -> list[Event]:
        """Return the events; a last line that a kill cut short is dropped, from the file too."""
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.ftruncate(self._descriptor, whole)
        events = []
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                events.append(from_line(line))
            except ValueError as error:
                self.problems.append(f"{self.path}: line {number} is damaged and was passed over: {error}")
        return events


def held_journals(home: Home) -> frozenset[str]:
    """Return the keys of runs that living processes of this machine write."""
    return frozenset(start.key for start, held in _journals(home) if held)


def left_journals(home: Home) -> dict[str, str]:
    """Return the name and the key of each run whose process ended before MLflow had everything."""
    left: dict[str, str] = {}
    for start, held in _journals(home):
        if not held:
            left[start.name if start.name not in left else f"{start.name} ({start.key})"] = start.key
    return left


def _journals(home: Home) -> Iterator[tuple[Open, bool]]:
    """Yield how each journal's run was opened, and whether a process holds it. Changes nothing."""
    for path in sorted(home.journal.glob(f"*{SUFFIX}")):
        with suppress(FileNotFoundError), open(path, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                held = False
            except BlockingIOError:
                held = True
            for line in file:
                with suppress(ValueError):
                    if isinstance(event := from_line(line), Open):
                        yield event, held
                        break
