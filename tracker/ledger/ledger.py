"""The grid as a table: cells taken under leases, each exactly once, by any number of processes."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, and_, insert, select, true, update

from tracker.ledger.database import Database, sqlite_url
from tracker.ledger.queries import (
    change_row,
    change_rows,
    count_rows,
    expired,
    first_waiting,
    held_by,
    of_cell,
    of_grid,
    of_study,
    read_rows,
)
from tracker.ledger.rows import OBJECTIVE, CellRow, Claim, Enrolled, StudyCounts
from tracker.ledger.tables import cells
from tracker.study.errors import LeaseLost
from tracker.study.home import Home
from tracker.study.study import Cell, Study

if TYPE_CHECKING:
    from tracker.ledger.trials import Trials

__all__ = ["CellRow", "Claim", "Enrolled", "Ledger", "StudyCounts", "local_url"]


def local_url(home: Home) -> str:
    """Return the URL of the trial database in the local folder."""
    return sqlite_url(home.trials_db)


class Ledger:
    """The cells of all studies in one database, and Optuna's view of them.

    Safe for threads; open one in each process. A worker claims a cell, renews the lease while it
    works, and ends with one of `complete`, `fail` and `release`. Each of these raises LeaseLost when
    the cell is not the worker's any more, and then changes nothing.

    Args:
        url: a SQLAlchemy URL, SQLite's or PostgreSQL's; tables are made if they are not there.
        lease_seconds: how long a claim or a renewal holds.

    Raises:
        LedgerError: the database cannot be used; also from every method.
    """

    def __init__(self, url: str, lease_seconds: float = 60.0) -> None:
        self._url = url
        self._lease = timedelta(seconds=lease_seconds)
        self._database = Database(url)
        with self._database.setting_up():
            if self._database.schema() is None:
                _ = self._trials  # makes Optuna's tables
                self._database.create_tables()

    @classmethod
    def local(cls, home: Home, lease_seconds: float = 60.0) -> Ledger:
        """Open the trial database in the local folder. Writes: `trials.db`, `trials.db.lock`."""
        home.make(home.root)
        return cls(local_url(home), lease_seconds)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        if "_trials" in self.__dict__:
            self._trials.close()
        self._database.close()

    @property
    def schema(self) -> str:
        """The version of the ledger's tables in this database."""
        return self._database.schema() or ""

    @property
    def journal_mode(self) -> str | None:
        """SQLite's journal mode: `wal`, unless the file system cannot; None for a server."""
        return self._database.journal_mode()

    @cached_property
    def _trials(self) -> Trials:
        from tracker.ledger.trials import Trials  # Optuna and Alembic, which readers do not need

        with self._database.translating():
            return Trials(self._url, str(self._database))

    def enroll(self, study: Study) -> Enrolled:
        """Put a study's grid into the table and into Optuna.

        Cells that are there keep all that is known about them; rows of an earlier definition stay,
        outside the grid. Points with equal content are one cell.
        """
        grid: dict[str, Cell] = {}
        for cell in study.cells:
            grid.setdefault(cell.id, cell)
        trials = self._trials
        with self._database.writing() as connection:
            self._database.lock_study(connection, study.name, shared=False)
            now = self._database.now(connection)
            known = {row.cell_id for row in read_rows(connection, of_study(study.name), now)}
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
            attributes = {"question": study.question, "metric": OBJECTIVE, "baseline": study.baseline}
            trials.describe_study(connection, study.name, attributes)
            trials.align(connection, study.name, read_rows(connection, of_grid(study.name), now))
        return Enrolled(new=len(new), kept=len(placed), outside=len(known) - len(placed))

    def claim(self, study_name: str, worker: str, exclude: Collection[str] = ()) -> Claim | None:
        """Take the first waiting cell of the grid; None when none waits.

        Args:
            exclude: ids of cells this worker must not take.
        """
        trials = self._trials
        with self._database.writing() as connection:
            self._database.lock_study(connection, study_name, shared=True)
            cell_id = first_waiting(connection, study_name, list(exclude))
            if cell_id is None:
                return None
            now = self._database.now(connection)
            expires = now + self._lease
            row = change_row(
                connection,
                study_name,
                cell_id,
                now,
                state="RUNNING",
                worker=worker,
                lease_expires=expires,
                token=cells.c.token + 1,
                attempts=cells.c.attempts + 1,
                failure_kind=None,
                failure_message=None,
                started=now,
                finished=None,
            )
            trials.bring(connection, row)
        return Claim(
            study=study_name,
            cell_id=cell_id,
            name=row.name,
            worker=worker,
            token=row.token,
            attempt=row.attempts,
            trial_number=row.trial_number,
            expires=expires,
        )

    def renew(self, claim: Claim) -> datetime:
        """Let the lease run anew, and return when it runs out. May be called from any thread."""
        with self._database.writing() as connection:
            now = self._database.now(connection)
            expires = now + self._lease
            self._check_held(connection, claim)
            change_row(connection, claim.study, claim.cell_id, now, lease_expires=expires)
        return expires

    def set_run(self, claim: Claim, run_id: str) -> None:
        """Note the MLflow run of the attempt."""
        with self._database.writing() as connection:
            self._check_held(connection, claim)
            now = self._database.now(connection)
            change_row(connection, claim.study, claim.cell_id, now, run_id=run_id)

    def complete(self, claim: Claim, metrics: Mapping[str, float], run_id: str | None, seconds: float) -> None:
        """Close the cell as done.

        Args:
            metrics: the run's final metrics, finite; `best_acc` becomes the trial's value.
            run_id: its MLflow run; None keeps what `set_run` noted.
            seconds: wall time of the attempt.

        Raises:
            ValueError: no `best_acc`, or a metric that is not finite.
        """
        if OBJECTIVE not in metrics or not all(math.isfinite(value) for value in metrics.values()):
            raise ValueError(f"metrics of a complete cell are finite and have {OBJECTIVE}; got {dict(metrics)}")
        plain = {name: float(value) for name, value in metrics.items()}  # JSON knows no numpy scalars
        self._settle(claim, run_id, state="COMPLETE", metrics=plain, seconds=seconds)

    def fail(self, claim: Claim, kind: str, message: str, run_id: str | None = None) -> None:
        """Close the attempt as failed; the cell waits again after `retry_failed`.

        Args:
            kind: the class of the failure, an exception's name.
            message: one line.
        """
        self._settle(claim, run_id, state="FAIL", failure_kind=kind, failure_message=message)

    def release(self, claim: Claim) -> None:
        """Give the cell back, unfinished: it waits again, and so does its trial."""
        self._settle(claim, None, state="WAITING")

    def reclaim_expired(self, study_name: str) -> list[CellRow]:
        """Let cells wait again whose lease ran out; return them as they were, with worker and run."""
        return self._reclaim(study_name, expired)

    def reclaim_worker(self, study_name: str, worker: str) -> list[CellRow]:
        """Let a worker's cells wait again at once, because it is known to be dead; return them as they were."""
        return self._reclaim(study_name, lambda _: held_by(worker))

    def retry_failed(self, study_name: str) -> list[CellRow]:
        """Let failed cells of the grid wait again, each with a new trial; return them as they were."""
        trials = self._trials
        with self._database.writing() as connection:
            self._database.lock_study(connection, study_name, shared=False)
            now = self._database.now(connection)
            failed = read_rows(connection, and_(of_grid(study_name), cells.c.state == "FAIL"), now)
            again = [
                change_row(connection, study_name, row.cell_id, now, state="WAITING", worker=None, finished=None)
                for row in failed
            ]
            trials.add(connection, study_name, read_rows(connection, of_grid(study_name), now), again)
        return failed

    def mend(self, study_name: str) -> list[str]:
        """Bring Optuna's trials in line with the table; return a sentence for each that was not.

        The ledger changes both at once, so this finds only what others did to the Optuna study.
        """
        trials = self._trials
        with self._database.writing() as connection:
            self._database.lock_study(connection, study_name, shared=False)
            grid = read_rows(connection, of_grid(study_name), self._database.now(connection))
            return trials.align(connection, study_name, grid) if grid else []

    def rows(self, study_name: str, in_grid: bool = True) -> list[CellRow]:
        """Return the cells of a study in the order of its grid.

        Args:
            in_grid: only those of its latest definition; else all, those outside last.
        """
        with self._database.reading() as connection:
            which = of_grid(study_name) if in_grid else of_study(study_name)
            return read_rows(connection, which, self._database.now(connection))

    def counts(self, study_name: str) -> StudyCounts:
        """Return how far a study is; all zero for one that was never enrolled."""
        with self._database.reading() as connection:
            counted = count_rows(connection, of_study(study_name), self._database.now(connection))
        return counted[0] if counted else StudyCounts(study_name, 0, 0, 0, 0, 0, 0, None)

    def studies(self) -> list[StudyCounts]:
        """Return all studies, the one that was active last first."""
        with self._database.reading() as connection:
            return count_rows(connection, true(), self._database.now(connection))

    def _reclaim(self, study_name: str, which: Callable[[datetime], ColumnElement[bool]]) -> list[CellRow]:
        """Let the running cells that `which` picks, given the time, wait again."""
        trials = self._trials
        with self._database.writing() as connection:
            self._database.lock_study(connection, study_name, shared=True)
            now = self._database.now(connection)
            lost = read_rows(connection, and_(of_study(study_name), which(now)), now, lock=True)
            for row in lost:
                waits = {"state": "WAITING", "lease_expires": None, "worker": None}
                trials.bring(connection, change_row(connection, study_name, row.cell_id, now, **waits))
        return lost

    def _settle(self, claim: Claim, run_id: str | None, **values: Any) -> None:
        """End a claim in one transaction: the row and its trial, or LeaseLost and neither."""
        trials = self._trials
        with self._database.writing() as connection:
            self._database.lock_study(connection, claim.study, shared=True)
            self._check_held(connection, claim)
            now = self._database.now(connection)
            if run_id is not None:
                values["run_id"] = run_id
            if values["state"] == "WAITING":
                values["worker"] = None
            else:
                values["finished"] = now
            row = change_row(connection, claim.study, claim.cell_id, now, lease_expires=None, **values)
            trials.bring(connection, row)

    def _check_held(self, connection: Connection, claim: Claim) -> None:
        """Raise LeaseLost unless the claim holds; until the transaction ends nobody can take the cell."""
        held = of_cell(claim.study, claim.cell_id) & (cells.c.token == claim.token) & (cells.c.state == "RUNNING")
        if connection.execute(select(cells.c.token).where(held).with_for_update()).first() is None:
            raise LeaseLost(
                f"{claim.study}: {claim.name}: {claim.worker} does not hold it any more (attempt {claim.attempt})",
                "nothing to do: whoever holds it now, or the next sweep, runs it",
            )
