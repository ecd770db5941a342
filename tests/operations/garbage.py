"""Garbage made by hand, and what `tracker gc` finds of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from click.testing import CliRunner, Result

from tracker.cli.main import cli
from tracker.operations.collecting import collect
from tracker.operations.garbage import Group
from tracker.study.home import Home

HOUR = 3600.0


def found(home: Home, **options: object) -> dict[str, Group]:
    """Collect, and return the groups by what they are, and why where that is not enough."""
    garbage = collect(home, older_than=HOUR, **options)  # type: ignore[arg-type]
    return {group.what: group for group in garbage.groups}


def names(group: Group) -> list[str]:
    """Return what is in a group."""
    return [item.name for item in group.items]


def gc(home: Home, *options: str) -> Result:
    """Run `tracker gc`."""
    return CliRunner().invoke(cli, ["gc", "--home", str(home.root), *options], catch_exceptions=False)


def age(path: Path, seconds: float = 3 * HOUR) -> Path:
    """Make a file or folder, with all that is in it, older."""
    for each in [path, *path.rglob("*")]:
        os.utime(each, (time.time() - seconds, time.time() - seconds))
    return path


def add(home: Home, name: str, content: bytes = b"content") -> Path:
    """Add a file of some hours ago."""
    path = home.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    for each in (path, *path.parents[: len(Path(name).parts) - 1]):
        os.utime(each, (time.time() - 3 * HOUR, time.time() - 3 * HOUR))
    return path


def in_dead_process() -> int:
    """Return the id of a process that has ended."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child
