"""Folders that are half made or half removed: named so that nobody takes them for whole, and found again."""

from __future__ import annotations

import os
import re
import shutil
import socket
import time
from pathlib import Path

import psutil

NAME = re.compile(r"\.(?P<purpose>part|removing|restoring)-(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]{8}")
OTHER_HOST_SECONDS = 24 * 3600.0
"""A folder of another machine, whose processes we cannot see, is taken for abandoned after this long."""


def temporary_name(purpose: str) -> str:
    """Return a new name for a folder of this process: part, removing or restoring."""
    return f".{purpose}-{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"


def abandoned(folder: Path, purposes: tuple[str, ...] = ("part", "removing")) -> list[Path]:
    """Return such folders whose process is gone."""
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        name = NAME.fullmatch(path.name)
        if name is not None and name["purpose"] in purposes and path.is_dir() and not path.is_symlink():
            if name["host"] != socket.gethostname():
                if time.time() - path.stat().st_mtime > OTHER_HOST_SECONDS:
                    found.append(path)
            elif not psutil.pid_exists(int(name["pid"])) or int(name["pid"]) == os.getpid():
                found.append(path)
    return found


def remove_tree(folder: Path) -> None:
    """Remove a folder; it loses its name at once, so that a kill in between leaves nothing that looks whole."""
    if NAME.fullmatch(folder.name) is None:
        doomed = folder.with_name(temporary_name("removing"))
        folder.rename(doomed)
        folder = doomed
    shutil.rmtree(folder)
