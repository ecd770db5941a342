"""Names in a local trial database, read without SQLAlchemy: for what must answer in the blink of an eye."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

SECONDS = 0.2
"""How long to wait for a database that is locked."""


def peek_studies(trials_db: Path) -> list[str]:
    """Return the studies that a trial database has, sorted; none where it cannot be read."""
    return [name for (name,) in _read(trials_db, "SELECT study FROM ledger_studies ORDER BY study")]


def peek_cells(trials_db: Path, study: str) -> list[tuple[str, str, str]]:
    """Return id, name and state of each cell in a study's grid, in its order; none where it cannot be read."""
    rows = _read(
        trials_db, "SELECT cell_id, name, state FROM cells WHERE study = ? AND in_grid ORDER BY position", study
    )
    return [(cell_id, name, state) for cell_id, name, state in rows]


def _read(trials_db: Path, query: str, *values: str) -> list[tuple[str, ...]]:
    """Run a query on the file as it is; nothing is created, migrated or locked."""
    try:
        with closing(sqlite3.connect(f"{trials_db.as_uri()}?mode=ro", uri=True, timeout=SECONDS)) as database:
            return database.execute(query, values).fetchall()
    except sqlite3.Error:
        return []
