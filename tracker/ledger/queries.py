"""What is asked of the table of cells, and how a row is changed; the caller holds the transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Select,
    and_,
    bindparam,
    case,
    func,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from tracker.ledger.rows import CellRow, StudyCounts
from tracker.ledger.tables import Moment, cells, ledger_studies
from tracker.study.recipe import Scalar

CLOCK_SLACK = 5.0
"""Seconds by which a lease may look too long before the clock is taken to have been set back."""


class seconds_between(FunctionElement[float]):
    """Seconds from the first moment to the second, in SQL."""

    type = Float()
    inherit_cache = True


@compiles(seconds_between, "sqlite")
def _on_sqlite(element: seconds_between, compiler: SQLCompiler, **options: Any) -> str:
    first, second = (compiler.process(clause, **options) for clause in element.clauses)
    return f"((julianday({second}) - julianday({first})) * 86400.0)"


@compiles(seconds_between, "postgresql")
def _on_postgresql(element: seconds_between, compiler: SQLCompiler, **options: Any) -> str:
    first, second = (compiler.process(clause, **options) for clause in element.clauses)
    return f"extract(epoch from ({second} - {first}))"


def of_study(study: str) -> ColumnElement[bool]:
    """Match every row of a study."""
    return cells.c.study == study


def of_grid(study: str) -> ColumnElement[bool]:
    """Match the cells of a study's latest definition."""
    return and_(cells.c.study == study, cells.c.in_grid)


def of_cell(study: str, cell_id: str) -> ColumnElement[bool]:
    """Match one row."""
    return and_(cells.c.study == study, cells.c.cell_id == cell_id)


def of_cells(cell_ids: Collection[str] | None) -> ColumnElement[bool]:
    """Match rows by id; None matches all."""
    return true() if cell_ids is None else cells.c.cell_id.in_(cell_ids)


def outside(exclude: Collection[str]) -> ColumnElement[bool]:
    """Match rows whose id is none of these."""
    return cells.c.cell_id.not_in(exclude) if exclude else true()


def expired(now: datetime) -> ColumnElement[bool]:
    """Match cells whose lease ran out.

    A lease that ends later than any that could have been given now was given before the clock was
    set back; it counts as run out, else nobody could have the cell for as long.
    """
    left = seconds_between(literal(now, Moment()), cells.c.lease_expires)
    impossible = left > 2.0 * cells.c.lease_seconds + CLOCK_SLACK
    return and_(cells.c.state == "RUNNING", or_(cells.c.lease_expires < now, func.coalesce(impossible, False)))


def ready(now: datetime) -> ColumnElement[bool]:
    """Match waiting cells that need not wait longer after a failure."""
    return and_(cells.c.state == "WAITING", or_(cells.c.not_before.is_(None), cells.c.not_before <= now))


def held_by(worker: str) -> ColumnElement[bool]:
    """Match the cells a worker works on."""
    return and_(cells.c.state == "RUNNING", cells.c.worker == worker)


def read_rows(
    connection: Connection,
    which: ColumnElement[bool],
    now: datetime,
    lock: Literal["wait", "skip"] | None = None,
) -> list[CellRow]:
    """Return rows in the order of the grid, those outside it last.

    Args:
        now: decides which leases ran out.
        lock: hold the rows until the transaction ends; `skip` leaves out those another one holds.
    """
    query: Select[Any] = select(cells, expired(now).label("expired")).where(which)
    query = query.order_by(cells.c.in_grid.desc(), cells.c.position)
    if lock:
        query = query.with_for_update(skip_locked=lock == "skip")  # PostgreSQL's; SQLite has the whole file locked
    return [CellRow(**row._asdict()) for row in connection.execute(query)]


def read_points(connection: Connection, study: str) -> list[Mapping[str, Scalar]]:
    """Return the axes' values of every cell, in the order of the grid."""
    query = select(cells.c.point).where(of_grid(study)).order_by(cells.c.position)
    return list(connection.execute(query).scalars())


def first_row(
    connection: Connection,
    study: str,
    which: ColumnElement[bool],
    now: datetime,
    exclude: Collection[str],
    lock: bool = True,
) -> CellRow | None:
    """Return the first cell of the grid that matches.

    Args:
        exclude: ids of cells to pass over.
        lock: hold it until the transaction ends, and pass over those another one holds.
    """
    query = select(cells, expired(now).label("expired")).where(of_grid(study), which, outside(exclude))
    query = query.order_by(cells.c.position).limit(1)
    if lock:
        query = query.with_for_update(skip_locked=True)
    row = connection.execute(query).first()
    return None if row is None else CellRow(**row._asdict())


def seconds_to_next(connection: Connection, study: str, now: datetime, exclude: Collection[str]) -> float | None:
    """Return how long it takes until a cell of the grid can be claimed, None where none waits or runs."""
    if any(first_row(connection, study, which, now, exclude, lock=False) for which in (ready(now), expired(now))):
        return 0.0
    moments = []
    for state, moment in (("WAITING", cells.c.not_before), ("RUNNING", cells.c.lease_expires)):
        soonest = select(func.min(moment)).where(of_grid(study), cells.c.state == state, outside(exclude))
        moments += [found for found in connection.execute(soonest).scalars() if found is not None]
    return max(0.0, (min(moments) - now).total_seconds()) if moments else None


def change_row(connection: Connection, row: CellRow, now: datetime, **values: Any) -> CellRow:
    """Change one row, which the transaction holds, and return it as it is now."""
    connection.execute(update(cells).where(of_cell(row.study, row.cell_id)).values(updated=now, **values))
    return replace(row, updated=now, expired=False, **values)


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
        "cancelled": cells.c.state == "PRUNED",
    }
    counted = [func.sum(case((state, 1), else_=0)).label(name) for name, state in states.items()]
    last = func.max(cells.c.updated).label("last_activity")
    paused = func.max(ledger_studies.c.pause_reason).label("paused")  # one a study
    query = (
        select(cells.c.study, func.count().label("cells"), *counted, last, paused)
        .select_from(cells.outerjoin(ledger_studies, cells.c.study == ledger_studies.c.study))
        .where(which, cells.c.in_grid)
        .group_by(cells.c.study)
        .order_by(last.desc(), cells.c.study)
    )
    return [StudyCounts(**row._asdict()) for row in connection.execute(query)]
