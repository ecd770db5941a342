"""Room on the disk, looked at before each write that could fill it."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tracker.study.errors import DiskFull, Stopped

LOOK_SECONDS = 2.0

Written = TypeVar("Written")


class DiskGuard:
    """Holds a worker up while its disk is full, its cell in hand: nothing is lost, and it goes on by itself.

    What is kept free is for the writes that cannot wait: the lease, the journal, the databases.

    Args:
        folder: on the disk in question.
        min_free_bytes: kept free.
        stop: asked while waiting.
        tell: told why it waits, and None when it goes on.
    """

    def __init__(
        self, folder: Path, min_free_bytes: int, stop: Callable[[], bool], tell: Callable[[str | None], None]
    ) -> None:
        self._folder = folder
        self._min_free = min_free_bytes
        self._stop = stop
        self._tell = tell

    def write(self, size: int, save: Callable[[], Written]) -> Written:
        """Call `save` when there is room for `size` bytes, and again if the disk filled up meanwhile.

        Raises:
            Stopped: `stop` said so while there was no room.
        """
        held = False
        while True:
            problem = self._lacking(size)
            if problem is None:
                try:
                    written = save()
                except (DiskFull, OSError) as error:
                    if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
                        raise
                    problem = f"{self._folder}: {error}"
                else:
                    if held:
                        self._tell(None)
                    return written
            if not held:
                self._tell(f"{problem}; free some space and it goes on, Ctrl-C gives the cell back")
                held = True
            if self._stop():
                raise Stopped
            time.sleep(LOOK_SECONDS)

    def _lacking(self, size: int) -> str | None:
        free = shutil.disk_usage(self._folder).free
        if free >= size + self._min_free:
            return None
        wanted = (size + self._min_free) / 1e6
        return f"the disk of {self._folder} is full: {free / 1e6:,.0f} MB free, {wanted:,.0f} MB needed"
