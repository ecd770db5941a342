"""What a home's server prints: kept in a bounded number of files, and shown."""

from __future__ import annotations

import os
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from tracker.study.home import Home

LOG_VARIABLE = "TRACKER_SERVER_LOG"
"""Tells the server's process which file it prints to, and may turn over."""

LARGEST = 5 * 2**20
"""Bytes of a log before it is turned over."""

GENERATIONS = 4
"""How many older logs are kept: server.log.1, the newest, to server.log.4."""

WATCH_SECONDS = 30.0


def log_path(home: Home) -> Path:
    """What `home`'s server prints."""
    return home.server / "server.log"


def log_size(home: Home) -> int:
    """Return how long the server's log is, in bytes."""
    return log_path(home).stat().st_size if log_path(home).exists() else 0


def open_log(path: Path) -> int:
    """Open a log for appending, for its owner to read, and return the descriptor."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def turn_over(path: Path, largest: int = LARGEST) -> bool:
    """Move a log that has become too long aside, dropping the oldest; say whether it was.

    Renaming loses nothing: what still has the file open goes on writing to it.
    """
    if not path.exists() or path.stat().st_size < largest:
        return False
    for generation in range(GENERATIONS - 1, 0, -1):
        older = _generation(path, generation)
        if older.exists():
            os.replace(older, _generation(path, generation + 1))
    os.replace(path, _generation(path, 1))
    return True


def keep_bounded(path: Path, largest: int = LARGEST, every: float = WATCH_SECONDS) -> None:
    """Turn this process's own log over whenever it has become too long, for as long as the process lives.

    The server does it itself, in a thread: nobody else is sure to live as long, and only the process
    can point its own output at the new file. Between the two steps it writes to the old one, so no
    line is lost; cutting a copy off, as logrotate's copytruncate does, would lose what comes between.
    """

    def watch() -> None:
        while True:
            time.sleep(every)
            try:
                if turn_over(path, largest):
                    fresh = open_log(path)
                    os.dup2(fresh, 1)
                    os.dup2(fresh, 2)
                    os.close(fresh)
            except OSError:
                continue  # a full disk, a folder that was removed: the next look may do better

    threading.Thread(target=watch, name="log", daemon=True).start()


def last_lines(home: Home, lines: int) -> list[str]:
    """Return the last lines of the server's log, going back into older ones where it is short."""
    found: deque[str] = deque()
    path = log_path(home)
    for file in (path, *(_generation(path, number) for number in range(1, GENERATIONS + 1))):
        if len(found) >= lines:
            break
        if file.exists():
            text = file.read_text(encoding="utf-8", errors="replace").splitlines()
            found.extendleft(reversed(text[-(lines - len(found)) :]))
    return list(found)


def follow(home: Home, every: float = 0.3) -> Iterator[str]:
    """Yield what is printed from now on, for ever, across turns of the log."""
    path = log_path(home)
    while not path.exists():
        time.sleep(every)
    file = path.open(encoding="utf-8", errors="replace")
    file.seek(0, os.SEEK_END)
    try:
        while True:
            turned = _inode(path) not in (None, os.fstat(file.fileno()).st_ino)
            time.sleep(every)  # also after a turn: the server writes to the old one until it has the new one
            if text := file.read():
                yield text
            if turned:
                file.close()
                file = path.open(encoding="utf-8", errors="replace")
    finally:
        file.close()


def log_tail(home: Home, start: int = 0, lines: int = 15) -> str:
    """Return the last lines of the server's log, from byte `start`, fit for a message."""
    try:
        with open(log_path(home), "rb") as file:
            file.seek(start)
            text = file.read().decode(errors="replace")
    except OSError:
        text = ""
    text = re.sub(r"://[^/@\s]*@", "://", text)  # addresses without their passwords
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:]) or "    (empty)"


def _inode(path: Path) -> int | None:
    """Tell one file from the next at the same path; None between the two."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _generation(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
