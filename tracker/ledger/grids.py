"""What is done to a study's cells together; the caller holds the transaction and the study's lock."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace as with_changes
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, and_, insert, or_, select, update

from tracker.ledger.database import Database
from tracker.ledger.queries import change_rows, of_cells, of_grid, of_study, read_rows
from tracker.ledger.rows import OBJECTIVE, CellRow, Enrolled
from tracker.ledger.studies import read_study
from tracker.ledger.tables import cells, ledger_studies
from tracker.study.errors import RecipeChanged
from tracker.study.study import Cell, Study

if TYPE_CHECKING:
    from tracker.ledger.trials import Trials

FROM_THE_BEGINNING: dict[str, Any] = {
    "run_key": None,
    "run_id": None,
    "last_epoch": None,
    "micro_batches": 1,
    "metrics": None,
    "seconds": None,
    "failure_class": None,
    "failure_kind": None,
    "failure_message": None,
}
"""What a cell has forgotten that starts anew."""


def enroll(database: Database, connection: Connection, trials: Trials, study: Study, replace: bool) -> Enrolled:
    """Make a study's grid what its definition says; `Ledger.enroll`."""
    grid: dict[str, Cell] = {}
    for cell in study.cells:
        grid.setdefault(cell.id, cell)
    now = database.now(connection)
    if not replace:
        check_recipe(connection, study)
    known = set(connection.execute(select(cells.c.cell_id).where(of_study(study.name))).scalars())
    new, placed = [], []
    for position, (cell_id, cell) in enumerate(grid.items()):
        place = {"name": cell.name, "point": dict(cell.point), "position": position, "in_grid": True}
        if cell_id in known:
            placed.append({"of_cell": cell_id, **place})
        else:
            place |= {"study": study.name, "cell_id": cell_id, "identity": cell.identity()}
            new.append({**place, "state": "WAITING", "created": now, "updated": now})
    connection.execute(update(cells).where(of_study(study.name)).values(in_grid=False))
    change_rows(connection, study.name, placed)
    if new:
        connection.execute(insert(cells), new)
    _keep_definition(database, connection, study, now)
    attributes = {"question": study.question, "metric": OBJECTIVE, "baseline": study.baseline}
    trials.describe_study(connection, study.name, attributes)
    trials.align(connection, study.name, read_rows(connection, of_grid(study.name), now))
    return Enrolled(new=len(new), kept=len(placed), outside=len(known) - len(placed))


def stop_cells(connection: Connection, study: str, cell_ids: Collection[str] | None, now: datetime) -> list[CellRow]:
    """Cancel cells that wait or run; return them as they were."""
    waits = and_(cells.c.in_grid, cells.c.state == "WAITING")
    open_cells = and_(of_study(study), of_cells(cell_ids), or_(waits, cells.c.state == "RUNNING"))
    before = read_rows(connection, open_cells, now, lock="wait")
    values = {"state": "PRUNED", "lease_expires": None, "not_before": None, "finished": now, "updated": now}
    changes = [{"of_cell": row.cell_id, "token": row.token + 1, **values} for row in before]
    change_rows(connection, study, changes)
    return before


def put_back(
    connection: Connection, study: str, cell_ids: Collection[str] | None, anew: bool, now: datetime
) -> tuple[list[CellRow], list[CellRow]]:
    """Let cells wait again.

    Returns:
        The rows as they were; and as they are, those whose trial is closed.
    """
    if cell_ids is None:
        which = cells.c.state == "FAIL"
    elif anew:
        which = cells.c.state != "RUNNING"
    else:
        which = cells.c.state.in_(("FAIL", "PRUNED"))
    before = read_rows(connection, and_(of_grid(study), of_cells(cell_ids), which), now, lock="wait")
    values: dict[str, Any] = {
        "state": "WAITING", "worker": None, "failures": 0, "not_before": None, "finished": None, "updated": now
    }  # fmt: skip
    if anew:
        values |= FROM_THE_BEGINNING
    change_rows(connection, study, [{"of_cell": row.cell_id, **values} for row in before])
    return before, [with_changes(row, **values) for row in before if row.state != "WAITING"]


def check_recipe(connection: Connection, study: Study) -> None:
    """Compare a study with its stored definition, if cells that were begun would leave the grid.

    Raises:
        RecipeChanged: cells at the same place of the grid have another content now.
    """
    from tracker.study.changes import changed
    from tracker.study.load import parse_study

    begun = select(cells.c.cell_id).where(of_grid(study.name), cells.c.attempts > 0)
    if {cell.id for cell in study.cells}.issuperset(connection.execute(begun).scalars()):
        return
    document = read_study(connection, study.name).get("document")
    if document is None:  # of a file that an older version made
        return
    changes = changed(parse_study(document, file=f"study {study.name} of the ledger"), study)
    if changes:
        raise RecipeChanged(study.name, changes)


def _keep_definition(database: Database, connection: Connection, study: Study, now: datetime) -> None:
    """Store what the study is from now on, and leave the rest of its row."""
    changes = {"document": study.document(), "updated": now}
    if read_study(connection, study.name):
        connection.execute(update(ledger_studies).where(ledger_studies.c.study == study.name).values(changes))
    else:
        connection.execute(insert(ledger_studies).values(study=study.name, created=now, **changes))
