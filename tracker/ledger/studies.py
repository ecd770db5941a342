"""What is true of a study as a whole, and which of its cells a word names; the caller holds the transaction."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, or_, select, update

from tracker.ledger.queries import of_grid, read_rows
from tracker.ledger.rows import CellRow
from tracker.ledger.tables import cells, ledger_studies
from tracker.study.errors import UsageError

MIN_PREFIX = 4
"""Hex digits of a cell's id that must be given at least."""


def read_study(connection: Connection, study: str) -> dict[str, Any]:
    """Return a study's row by column, empty for one that was never enrolled."""
    row = connection.execute(select(ledger_studies).where(ledger_studies.c.study == study)).first()
    return {} if row is None else row._asdict()


def read_pause(connection: Connection, study: str) -> str | None:
    """Return why a study is paused, None where it is not."""
    return connection.execute(
        select(ledger_studies.c.pause_reason).where(ledger_studies.c.study == study)
    ).scalar_one_or_none()


def change_study(connection: Connection, study: str, now: datetime, **values: Any) -> None:
    """Change a study's row.

    Raises:
        UsageError: it was never enrolled; names those that were.
    """
    changed = connection.execute(
        update(ledger_studies).where(ledger_studies.c.study == study).values(updated=now, **values)
    )
    if changed.rowcount == 0:
        known = connection.execute(select(ledger_studies.c.study).order_by(ledger_studies.c.study)).scalars().all()
        raise UsageError(f"the ledger has no study {study}", f"studies there: {', '.join(known) or 'none'}")


def find_row(connection: Connection, study: str, word: str, now: datetime) -> CellRow:
    """Return the cell of the grid that a word names: its id, the beginning of it, or its name.

    Raises:
        UsageError: none or several; names the nearest ones.
    """
    named = or_(cells.c.cell_id == word, cells.c.name == word)
    if len(word) >= MIN_PREFIX:
        named = or_(named, cells.c.cell_id.startswith(word, autoescape=True))
    found = read_rows(connection, and_(of_grid(study), named), now)
    exact = [row for row in found if word in (row.cell_id, row.name)]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        several = ", ".join(f"{row.cell_id} ({row.name})" for row in found)
        raise UsageError(f"{study}: {word!r} names {len(found)} cells", f"give more of the id: {several}")
    known = connection.execute(select(cells.c.cell_id, cells.c.name).where(of_grid(study)).order_by(cells.c.position))
    raise UsageError(f"{study}: there is no cell {word!r}", _nearest(word, [(row.cell_id, row.name) for row in known]))


def _nearest(word: str, known: Sequence[tuple[str, str]]) -> str:
    """Name the cells whose id or name is nearest to a word."""
    ways = f"a cell is named by its id, the first {MIN_PREFIX} or more digits of it, or its name"
    of_text = {text: f"{cell_id} ({name})" for cell_id, name in known for text in (cell_id, name)}
    near = dict.fromkeys(of_text[text] for text in difflib.get_close_matches(word, of_text, n=3))
    return f"{ways}; nearest: {', '.join(near)}" if near else ways
