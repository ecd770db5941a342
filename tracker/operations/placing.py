"""The place of a home that is being restored: empty before, made beside, complete by one rename."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from tracker.operations.leftovers import abandoned
from tracker.study.errors import UsageError
from tracker.study.home import Home


def in_the_way(home: Home) -> list[str]:
    """Return what a home has, locks of nobody and leftovers of a killed restore not counted."""
    if home.root.exists() and not home.root.is_dir():
        raise UsageError(f"{home.root} is a file", "name a folder with --home DIR")
    own = {path.name for path in abandoned(home.root, ("restoring",))} | {"operations.lock", "lost+found"}
    return sorted(path.name for path in home.root.iterdir() if path.name not in own) if home.root.is_dir() else []


def staging_place(home: Home) -> Path:
    """Return where the home is made: beside it, so that one rename completes it; inside if it is a volume."""
    parent = home.root.parent
    if home.root.is_dir() and (os.path.ismount(home.root) or home.root.is_symlink() or not os.access(parent, os.W_OK)):
        return home.root
    parent.mkdir(parents=True, exist_ok=True)
    return parent


def put_in_place(staged: Home, home: Home) -> Path | None:
    """Give the whole home its name; return where what was there is now."""
    moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    there = in_the_way(home)
    if staged.root.parent != home.root:
        aside = home.root.with_name(f"{home.root.name}.before-{moment}") if there else None
        if aside is not None:
            home.root.rename(aside)
        elif home.root.is_dir():
            (home.root / "operations.lock").unlink(missing_ok=True)
        staged.root.rename(home.root)
        return aside
    aside = home.root / f"before-{moment}" if there else None
    if aside is not None:
        aside.mkdir()
        for name in there:
            (home.root / name).rename(aside / name)
    # Databases last: without them nobody takes what is there for a home in which something was run.
    parts = sorted(staged.root.iterdir(), key=lambda path: (path.suffix == ".db", path.name))
    for path in parts:
        path.rename(home.root / path.name)
    staged.root.rmdir()
    return aside
