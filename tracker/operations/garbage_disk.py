"""Garbage among a home's files: what processes left, and what the ledger needs no more."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from tracker.ledger.rows import CellRow
from tracker.operations.contents import TEMPORARY
from tracker.operations.garbage import RECENT_SECONDS, Group, measure, path_item
from tracker.operations.leftovers import NAME, abandoned
from tracker.study.home import SCRATCH_NAME, Home
from tracker.tracking.journal import FILES, REFUSED, SUFFIX, held_journals, left_journals

RUN_KEY = re.compile(r"[0-9a-f]{12}-[0-9a-f]{8}")
OTHER_HOST_SECONDS = 24 * 3600.0
"""A scratch folder of another machine, whose processes we cannot see, is garbage after this long."""


def training_states(home: Home, rows: Iterable[CellRow], older_than: float) -> Iterator[Group]:
    """Yield the training states that no cell goes on from."""
    by_key = {row.run_key: row for row in rows if row.run_key is not None}
    alive = held_journals(home)
    complete = Group("training states", "their cells are complete")
    outside = Group("training states", "their cells left the grid")
    unknown = Group("training states", "no cell of the trial database has them: it began anew, or is another's")
    for folder in _folders(home.work):
        if RUN_KEY.fullmatch(folder.name) is None or folder.name in alive:
            continue
        row, size = by_key.get(folder.name), measure(folder)
        if row is None:
            group, age = unknown, older_than
        elif row.state == "COMPLETE":
            group, age = complete, RECENT_SECONDS
        elif not row.in_grid and row.state != "RUNNING":
            group, age = outside, older_than
        else:
            continue
        if size.older_than(age):
            group.items.append(path_item(folder, home.root, size))
    yield from (complete, outside, unknown)


def scratch(home: Home) -> Group:
    """Return the scratch folders of processes that are gone."""
    group = Group("scratch folders", "the processes that made them are gone")
    for folder in _folders(home.work):
        name = SCRATCH_NAME.fullmatch(folder.name)
        if name is None:
            continue
        here = name["host"] == socket.gethostname()
        if here and psutil.pid_exists(int(name["pid"])):
            continue
        if (size := measure(folder)).older_than(RECENT_SECONDS if here else OTHER_HOST_SECONDS):
            group.items.append(path_item(folder, home.root, size))
    return group


def journal_files(home: Home) -> Group:
    """Return files kept for journals that were delivered and removed."""
    group = Group("journal files", "their journals were delivered")
    for folder in sorted(home.journal.glob(f"*{FILES}")):
        if not folder.with_suffix(SUFFIX).exists() and not folder.with_suffix(REFUSED).exists():
            _add(group, folder, home.root)
    return group


def journals_that_stay(home: Home) -> Iterator[str]:
    """Name the journals that somebody has to look at."""
    for path in sorted(home.journal.glob(f"*{REFUSED}")):
        yield f"{path}: MLflow refused a part of it; look at it, then remove it by hand"
    for name in left_journals(home):
        yield f"{name}: results that MLflow has not got; `tracker sweep` or `tracker status --study` delivers them"


def cache(home: Home) -> Group:
    """Return what is made again when it is needed."""
    group = Group("cached files", "made again when needed")
    for path in sorted(home.cache.iterdir()) if home.cache.is_dir() else ():
        _add(group, path, home.root)
    return group


def temporary(home: Home) -> Group:
    """Return what was half written, half removed or half restored when its process was killed."""
    group = Group("half-written files", "nothing was renamed to its name, and nobody writes to them")
    for path in [*_temporary(home.root), *abandoned(home.root.parent, ("restoring",))]:
        _add(group, path, home.root)
    return group


def half_backups(folder: Path) -> Group:
    """Return what killed backups left in a folder."""
    group = Group("half backups", "the backups that made them were killed")
    for path in abandoned(folder):
        _add(group, path, folder, age=0.0)
    return group


def _temporary(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_symlink():
            continue
        name = NAME.fullmatch(path.name)
        if name is not None:
            if path in abandoned(folder, (name["purpose"],)):
                yield path
        elif TEMPORARY.fullmatch(path.name):
            yield path
        elif path.is_dir():
            yield from _temporary(path)


def _add(group: Group, path: Path, root: Path, age: float = RECENT_SECONDS) -> None:
    if (size := measure(path)).older_than(age):
        group.items.append(path_item(path, root, size, age))


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir() and not path.is_symlink()) if place.is_dir() else []
