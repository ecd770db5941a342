"""What is asked of the table of cells, and how a row is changed; the caller holds the transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, case, func, select, update

from tracker.ledger.rows import CellRow, StudyCounts
from tracker.ledger.tables import cells


def of_study(study: str) -> ColumnElement[bool]:
    """Match every row of a study."""
    return cells.c.study == study


def of_grid(study: str) -> ColumnElement[bool]:
    """Match the cells of a study's latest definition."""
    return and_(cells.c.study == study, cells.c.in_grid)


def of_cell(study: str, cell_id: str) -> ColumnElement[bool]:
    """Match one row."""
    return and_(cells.c.study == study, cells.c.cell_id == cell_id)


def expired(now: datetime) -> ColumnElement[bool]:
    """Match cells whose lease ran out."""
    return and_(cells.c.state == "RUNNING", cells.c.lease_expires < now)


def held_by(worker: str) -> ColumnElement[bool]:
    """Match the cells a worker works on."""
    return and_(cells.c.state == "RUNNING", cells.c.worker == worker)


def read_rows(connection: Connection, which: ColumnElement[bool], now: datetime, lock: bool = False) -> list[CellRow]:
    """Return rows in the order of the grid, those outside it last.

    Args:
        now: decides which leases ran out.
        lock: hold the rows until the transaction ends, and leave out those another one holds.
    """
    query: Select[Any] = select(cells).where(which).order_by(cells.c.in_grid.desc(), cells.c.position)
    if lock:
        query = query.with_for_update(skip_locked=True)
    return [
        CellRow(
            **row._asdict(),
            expired=row.state == "RUNNING" and row.lease_expires is not None and row.lease_expires < now,
        )
        for row in connection.execute(query)
    ]


def first_waiting(connection: Connection, study: str, exclude: Sequence[str]) -> str | None:
    """Return the id of the first waiting cell of the grid, held until the transaction ends."""
    query = (
        select(cells.c.cell_id)
        .where(of_grid(study), cells.c.state == "WAITING")
        .order_by(cells.c.position)
        .limit(1)
        .with_for_update(skip_locked=True)  # PostgreSQL's; SQLite has the whole file locked
    )
    if exclude:
        query = query.where(cells.c.cell_id.not_in(exclude))
    return connection.execute(query).scalar_one_or_none()


def change_row(connection: Connection, study: str, cell_id: str, now: datetime, **values: Any) -> CellRow:
    """Change one row and return it."""
    connection.execute(update(cells).where(of_cell(study, cell_id)).values(updated=now, **values))
    return read_rows(connection, of_cell(study, cell_id), now)[0]


def change_rows(connection: Connection, study: str, changes: Sequence[dict[str, Any]]) -> None:
    """Change many rows at once, each by its `of_cell`; the other keys are columns."""
    if changes:
        # The keys of the dictionaries name what is set.
        each = update(cells).where(cells.c.study == study, cells.c.cell_id == bindparam("of_cell"))
        connection.execute(each, list(changes))


def count_rows(connection: Connection, which: ColumnElement[bool], now: datetime) -> list[StudyCounts]:
    """Count the cells of each study's latest definition, the study that was active last first."""
    lost = expired(now)
    states = {
        "waiting": cells.c.state == "WAITING",
        "running": and_(cells.c.state == "RUNNING", ~lost),
        "lost": lost,
        "complete": cells.c.state == "COMPLETE",
        "failed": cells.c.state == "FAIL",
    }
    counted = [func.sum(case((state, 1), else_=0)).label(name) for name, state in states.items()]
    last = func.max(cells.c.updated).label("last_activity")
    query = (
        select(cells.c.study, func.count().label("cells"), *counted, last)
        .where(which, cells.c.in_grid)
        .group_by(cells.c.study)
        .order_by(last.desc(), cells.c.study)
    )
    return [StudyCounts(**row._asdict()) for row in connection.execute(query)]
