"""A full disk holds a worker up; nothing is lost, and it goes on by itself."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path

import pytest

from tracker.study.errors import DiskFull, Stopped
from tracker.sweep.workers import disk
from tracker.sweep.workers.disk import DiskGuard


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "LOOK_SECONDS", 0.02)


def test_with_room_it_writes_at_once(tmp_path: Path) -> None:
    """Nobody is told anything."""
    told: list[str | None] = []
    assert DiskGuard(tmp_path, 0, lambda: False, told.append).write(10, lambda: "written") == "written"
    assert told == []


def test_it_waits_for_room_and_says_so_once(tmp_path: Path) -> None:
    """Space that comes back lets it go on; free and needed megabytes are in the words."""
    told: list[str | None] = []
    free = shutil.disk_usage(tmp_path).free
    guard = DiskGuard(tmp_path, free * 4, lambda: False, told.append)
    thread = threading.Thread(target=lambda: told.append(guard.write(10, lambda: "written")))
    thread.start()
    for _ in range(500):
        if told:
            break
        thread.join(0.01)
    guard._min_free = 0
    thread.join(10)
    assert told[1:] == [None, "written"]
    assert told[0] is not None and "MB free" in told[0] and str(tmp_path) in told[0]


@pytest.mark.parametrize("error", [DiskFull("no room"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
def test_a_disk_that_fills_up_during_the_write_is_waited_for_too(tmp_path: Path, error: Exception) -> None:
    """Another program took the space: the same write is tried again."""
    told: list[str | None] = []
    tries: list[int] = []

    def save() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise error
        return len(tries)

    assert DiskGuard(tmp_path, 0, lambda: False, told.append).write(10, save) == 3
    assert told[-1] is None and len(told) == 2


def test_asked_to_stop_it_does_not_wait(tmp_path: Path) -> None:
    """Ctrl-C works on a full disk."""
    guard = DiskGuard(tmp_path, 1 << 62, lambda: True, lambda reason: None)
    with pytest.raises(Stopped):
        guard.write(10, lambda: None)


def test_other_errors_are_not_its_business(tmp_path: Path) -> None:
    """A folder that cannot be written to does not mend itself."""

    def save() -> None:
        raise PermissionError(errno.EACCES, "no")

    with pytest.raises(PermissionError):
        DiskGuard(tmp_path, 0, lambda: False, lambda reason: None).write(1, save)
