"""The studies and their grids: which cells there are, and what people decide about them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from sqlalchemy import and_, select, true

from tracker.ledger.database import LOCK_SECONDS, Database, sqlite_url
from tracker.ledger.devices import Devices
from tracker.ledger.grids import check_recipe, enroll, put_back, stop_cells
from tracker.ledger.leases import Leases
from tracker.ledger.queries import change_row, count_rows, of_cell, of_grid, of_study, read_points, read_rows
from tracker.ledger.rows import AsideDevice, CellRow, Claim, Enrolled, Orders, State, StudyCounts
from tracker.ledger.schema import prepare, read_schema
from tracker.ledger.studies import change_study, find_row, read_pause, read_study
from tracker.ledger.tables import cells
from tracker.study.failures import RetryPolicy
from tracker.study.home import Home
from tracker.study.study import Study

if TYPE_CHECKING:
    from tracker.ledger.trials import Trials

__all__ = ["AsideDevice", "CellRow", "Claim", "Enrolled", "Ledger", "Orders", "StudyCounts", "local_url"]

POLICY = RetryPolicy()
LEASE_SECONDS = 60.0


class Options(TypedDict, total=False):
    """What `Ledger` takes beside the database."""

    lease_seconds: float
    policy: RetryPolicy
    lock_seconds: float


def local_url(home: Home) -> str:
    """Return the URL of the trial database in the local folder."""
    return sqlite_url(home.trials_db)


class Ledger:
    """The cells of all studies in one database, and Optuna's view of them.

    Safe for threads; open one in each process. What a worker does with a cell is done by `leases`;
    which devices it must not do it on is known to `devices`.

    Args:
        url: a SQLAlchemy URL, SQLite's or PostgreSQL's; tables are made if they are not there, and
            migrated if they are of an older version of this program.
        lease_seconds: how long a claim or a renewal holds.
        policy: what becomes of a cell after a failure.
        lock_seconds: how long a transaction waits for another process's.

    Raises:
        LedgerError: the database cannot be used; also from every method.
    """

    def __init__(
        self,
        url: str,
        lease_seconds: float = LEASE_SECONDS,
        policy: RetryPolicy = POLICY,
        lock_seconds: float = LOCK_SECONDS,
    ) -> None:
        self._database = Database(url, lock_seconds)
        try:
            prepare(self._database, lambda: self._trials)
        except BaseException:
            self.close()
            raise
        self.devices = Devices(self._database)
        self.leases = Leases(self._database, lambda: self._trials, lease_seconds, policy)

    @classmethod
    def local(cls, home: Home, **options: Unpack[Options]) -> Ledger:
        """Open the trial database in the local folder. Writes: `trials.db`, `trials.db.lock`."""
        home.make(home.root)
        return cls(local_url(home), **options)

    @classmethod
    def open(cls, home: Home, storage: str | None = None, **options: Unpack[Options]) -> Ledger:
        """Open the database at the URL `storage`; the one in the local folder where none is given."""
        return cls.local(home, **options) if storage is None else cls(storage, **options)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def __str__(self) -> str:
        """Name the database, without its password."""
        return str(self._database)

    def close(self) -> None:
        """Close all connections."""
        if "_trials" in self.__dict__:
            self._trials.close()
        self._database.close()

    @property
    def schema(self) -> str:
        """The version of the ledger's tables in this database."""
        return read_schema(self._database) or ""

    @property
    def journal_mode(self) -> str | None:
        """SQLite's journal mode: `wal`, unless the file system cannot; None for a server."""
        return self._database.journal_mode()

    @cached_property
    def _trials(self) -> Trials:
        from tracker.ledger.trials import Trials  # Optuna and Alembic, which readers do not need

        with self._database.translating():
            return Trials(self._database)

    def enroll(self, study: Study, replace: bool = False) -> Enrolled:
        """Put a study's grid into the table and into Optuna, and keep its definition.

        Cells that are there keep all that is known about them; rows of an earlier definition stay,
        outside the grid. Points with equal content are one cell.

        Args:
            replace: let cells that were begun leave the grid although their recipe changed.

        Raises:
            RecipeChanged: cells were begun with another recipe.
        """
        trials = self._trials
        with self._database.writing() as connection:
            self._database.lock_study(connection, study.name, shared=False)
            return enroll(self._database, connection, trials, study, replace)

    def check_recipe(self, study: Study) -> None:
        """See that a study could be enrolled.

        Raises:
            RecipeChanged: cells were begun with another recipe.
        """
        with self._database.reading() as connection:
            check_recipe(connection, study)

    def definition(self, study_name: str) -> dict[str, Any] | None:
        """Return the document of the study as it was enrolled last; None where there is none."""
        with self._database.reading() as connection:
            document: dict[str, Any] | None = read_study(connection, study_name).get("document")
            return document

    def set_place(self, study_name: str, experiment_id: str, run_id: str) -> None:
        """Note the study's experiment and its run in MLflow."""
        self._change_study(study_name, experiment_id=experiment_id, study_run_id=run_id)

    def place(self, study_name: str) -> tuple[str, str] | None:
        """Return the ids of the study's experiment and of its run in MLflow, None while it has none."""
        with self._database.reading() as connection:
            row = read_study(connection, study_name)
        experiment_id, run_id = row.get("experiment_id"), row.get("study_run_id")
        return None if experiment_id is None or run_id is None else (experiment_id, run_id)

    def pause(self, study_name: str, reason: str) -> None:
        """Hand out no cell of the study until `resume`; a pause that is there keeps its reason.

        Raises:
            UsageError: the study was never enrolled.
        """
        with self._database.writing() as connection:
            if read_pause(connection, study_name) is None:
                now = self._database.now(connection)
                change_study(connection, study_name, now, pause_reason=reason, paused=now)

    def resume(self, study_name: str) -> None:
        """Hand out the study's cells again.

        Raises:
            UsageError: the study was never enrolled.
        """
        self._change_study(study_name, pause_reason=None, paused=None)

    def pause_reason(self, study_name: str) -> str | None:
        """Return why the study is paused, None where it is not."""
        with self._database.reading() as connection:
            return read_pause(connection, study_name)

    def cancel(self, study_name: str, cell_ids: Collection[str] | None = None) -> list[CellRow]:
        """Close cells that wait or run as cancelled, and their trials; a worker at one loses its lease.

        Args:
            cell_ids: None means all of the grid, and any that still run of an earlier definition.

        Returns:
            The cells that were cancelled, as they were.
        """
        trials = self._trials
        with self._database.writing() as connection:
            self._database.lock_study(connection, study_name, shared=False)
            now = self._database.now(connection)
            stopped = stop_cells(connection, study_name, cell_ids, now)
            if stopped:
                trials.prune(connection, study_name, now)
        return stopped

    def retry(self, study_name: str, cell_ids: Collection[str] | None = None, anew: bool = False) -> list[CellRow]:
        """Let failed and cancelled cells of the grid wait again, each with a new trial.

        Args:
            cell_ids: None means all that failed.
            anew: from the beginning, in a new run; then for complete and waiting cells too.

        Returns:
            The cells that wait again, as they were.
        """
        trials = self._trials
        with self._database.writing() as connection:
            self._database.lock_study(connection, study_name, shared=False)
            now = self._database.now(connection)
            before, closed = put_back(connection, study_name, cell_ids, anew, now)
            if closed:
                trials.add(connection, study_name, read_points(connection, study_name), closed)
        return before

    def find_cells(self, study_name: str, words: Sequence[str]) -> list[CellRow]:
        """Return the cells of the grid that the words name: by id, the first digits of it, or name.

        Raises:
            UsageError: a word names none, or several; names the nearest ones.
        """
        with self._database.reading() as connection:
            now = self._database.now(connection)
            found = {row.cell_id: row for word in words for row in [find_row(connection, study_name, word, now)]}
        return list(found.values())

    def mend(self, study_name: str, dry_run: bool = False) -> list[str]:
        """Bring Optuna's trials in line with the table; return a sentence for each that was not.

        The ledger changes both at once, so this finds only what others did to the Optuna study.

        Args:
            dry_run: find it, and leave it.
        """
        trials = self._trials
        with self._database.writing() as connection:
            self._database.lock_study(connection, study_name, shared=False)
            grid = read_rows(connection, of_grid(study_name), self._database.now(connection))
            said = trials.align(connection, study_name, grid) if grid else []
            if dry_run:
                connection.rollback()
        return said

    def note_run(self, study_name: str, cell_id: str, run_key: str, run_id: str) -> bool:
        """Note the MLflow run of a cell whose results reached MLflow later; False if it has another run by now."""
        trials = self._trials
        its_run = and_(of_cell(study_name, cell_id), cells.c.run_key == run_key)
        with self._database.writing() as connection:
            self._database.lock_study(connection, study_name, shared=True)
            now = self._database.now(connection)
            rows = read_rows(connection, its_run, now, lock="wait")
            for row in rows:
                trials.describe(connection, change_row(connection, row, now, run_id=run_id))
        return bool(rows)

    def rows(self, study_name: str, in_grid: bool = True) -> list[CellRow]:
        """Return the cells of a study in the order of its grid.

        Args:
            in_grid: only those of its latest definition; else all, those outside last.
        """
        with self._database.reading() as connection:
            which = of_grid(study_name) if in_grid else of_study(study_name)
            return read_rows(connection, which, self._database.now(connection))

    def state(self, study_name: str, cell_id: str) -> State | None:
        """Return a cell's state; None for one that was never enrolled."""
        with self._database.reading() as connection:
            found: State | None = connection.execute(select(cells.c.state).where(of_cell(study_name, cell_id))).scalar()
            return found

    def counts(self, study_name: str) -> StudyCounts:
        """Return how far a study is; all zero for one that was never enrolled."""
        with self._database.reading() as connection:
            counted = count_rows(connection, of_study(study_name), self._database.now(connection))
        return counted[0] if counted else StudyCounts(study_name, 0, 0, 0, 0, 0, 0, 0, None, None)

    def studies(self) -> list[StudyCounts]:
        """Return all studies, the one that was active last first."""
        with self._database.reading() as connection:
            return count_rows(connection, true(), self._database.now(connection))

    def _change_study(self, study_name: str, **values: Any) -> None:
        """Change what is true of a study as a whole."""
        with self._database.writing() as connection:
            change_study(connection, study_name, self._database.now(connection), **values)
