"""What `tracker doctor` says of a home's databases, its backups and what could be deleted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

from tracker.operations.collecting import collect
from tracker.operations.contents import is_sqlite
from tracker.operations.databases import damage
from tracker.operations.verifying import backups_in, verify
from tracker.study.errors import TrackerError
from tracker.study.home import Home
from tracker.study.wording import counted

STALE_SECONDS = 7 * 24 * 3600.0
"""A backup older than this is named if the home has changed since."""

Remark = tuple[str, Literal["ok", "warning", "problem"], str, str | None]
"""Topic, level, message and cure."""


def upkeep(home: Home, storage: str | None = None) -> Iterator[Remark]:
    """Check the SQLite files page by page, and measure what `tracker gc` would delete. Changes nothing."""
    whole = True
    for path in (home.trials_db, home.tracking_db):
        if not is_sqlite(path):
            continue
        if problem := damage(path):
            whole = False
            yield (
                "databases",
                "problem",
                f"{path} is damaged: {problem}",
                "restore the last backup: tracker restore DIR",
            )
        else:
            yield "databases", "ok", f"{path}: {path.stat().st_size / 2**20:.1f} MiB, whole", None
    if not whole or not home.root.is_dir():
        return
    try:
        found = collect(home, storage=storage)
    except TrackerError as error:
        yield "gc", "problem", error.message, error.cure
        return
    if found.groups:
        yield "gc", "ok", f"{found.bytes / 2**20:.1f} MiB can be deleted: tracker gc", None
    for line in found.named:
        yield "gc", "warning", f"stays: {line}", None


def backups(home: Home, folder: Path) -> Iterator[Remark]:
    """Look at the newest backup of the home in a folder: its age, and every byte. Changes nothing."""
    again = f"tracker backup {folder}"
    found = [each for each in backups_in(folder) if each[1].is_of(home)]
    if not found:
        yield "backups", "problem", f"no backup of {home.root} in {folder}", again
        return
    newest, manifest = found[-1]
    made = datetime.fromisoformat(manifest.created).timestamp()
    described = f"{newest}: {_age(time.time() - made)} old, {manifest.bytes / 2**20:.1f} MiB"
    try:
        verify(newest, manifest)
    except TrackerError as error:
        yield "backups", "problem", error.message, again
        return
    if time.time() - made > STALE_SECONDS and _changed(home) > made:
        yield "backups", "warning", f"{described}, whole, and the home has changed since", again
        return
    yield "backups", "ok", f"{described}, whole; {counted(len(found), 'backup')} in all", None


def _changed(home: Home) -> float:
    """Return when a database of the home was written last."""
    files = [Path(f"{path}{end}") for path in (home.trials_db, home.tracking_db) for end in ("", "-wal")]
    return max((path.stat().st_mtime for path in files if path.exists()), default=0.0)


def _age(seconds: float) -> str:
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return counted(int(seconds // size), unit)
    return "less than a minute"
