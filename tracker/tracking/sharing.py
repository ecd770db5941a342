"""Several processes with one run open at once: the last one out ends it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Company:
    """The processes of this home that have the run of one key open.

    Each holds a shared lock on a file beside the journal, which the kernel lets go of when the
    process ends, however that happens. Processes on other machines are not seen.

    Args:
        folder: of the journals.
        key: the run's.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._path = folder / f"{key}.users"
        self._descriptor: int | None = None

    def join(self) -> None:
        """Count as one of them, until `last_out` or the end of this process."""
        self._descriptor = self._lock(fcntl.LOCK_SH)

    @contextmanager
    def last_out(self) -> Iterator[bool]:
        """Leave, and yield whether nobody else is in; nobody can join while the block runs."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        try:
            descriptor = self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            self._path.unlink(missing_ok=True)
            os.close(descriptor)

    def _lock(self, how: int) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, how)
                if os.path.samestat(os.fstat(descriptor), self._path.stat()):
                    return descriptor
            except FileNotFoundError:  # the last one out removed it just before we locked it
                pass
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
