"""What `tracker doctor` says of a home's databases and of what could be deleted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from tracker.operations.collecting import collect
from tracker.operations.contents import is_sqlite
from tracker.operations.databases import damage
from tracker.study.errors import TrackerError
from tracker.study.home import Home

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
