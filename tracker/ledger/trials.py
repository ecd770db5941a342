"""Optuna's view of the grid: one study, one trial a cell, categorical parameters.

The ledger's table is the truth. Every change of it and of the view is one transaction, so a kill at
any moment leaves both or neither. Studies go through Optuna's own storage, joined to the ledger's
transaction; trials are written straight into its tables, since its API takes 5 ms a trial (a grid
of 2,000 cells: 10 s with the database locked; this way 0.3 s).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from tracker.ledger.database import Database
from tracker.ledger.optuna_tables import OptunaTables, SeenTrial
from tracker.ledger.queries import change_rows
from tracker.ledger.rows import CellRow
from tracker.ledger.tables import cells
from tracker.ledger.views import attribute_rows, choice_texts, choices, link, naive, name_rows, value_rows
from tracker.study.errors import LedgerError
from tracker.study.recipe import Scalar

optuna.logging.set_verbosity(optuna.logging.WARNING)  # else every study made is announced on stderr


class Trials:
    """Optuna's tables in the ledger's database, made if they are not there.

    Every method takes the connection of the ledger's transaction and becomes part of it.

    Raises:
        LedgerError: they were made by another version of Optuna.
    """

    def __init__(self, database: Database) -> None:
        options = {"connect_args": database.connect_args(), "poolclass": NullPool}
        try:
            self._storage = RDBStorage(database.url, engine_kwargs=options)
        except RuntimeError as error:  # how Optuna says that the schema is not its own
            raise LedgerError(f"{database}: {error}") from error
        except StorageInternalError as error:
            raise (error.__cause__ or error) from error
        self._storage.engine.dispose()  # from here on every statement runs on the ledger's connections
        self._tables = OptunaTables()

    def close(self) -> None:
        """Close Optuna's connections."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def describe_study(self, connection: Connection, study: str, attributes: Mapping[str, Any]) -> None:
        """Make the study if need be, and attach what a reader should know."""
        study_id = self._study_id(connection, study)
        with self._joined(connection) as storage:
            for key, value in attributes.items():
                storage.set_study_user_attr(study_id, key, value)
            # As Study.set_metric_names does: the name of the objective in Optuna's tables and plots.
            storage.set_study_system_attr(study_id, "study:metric_names", [attributes["metric"]])

    def bring(self, connection: Connection, row: CellRow) -> bool:
        """Give the row's trial the row's state; False where Optuna has no such trial or has closed it.

        That happens when someone else writes to the Optuna study; `align` mends it.
        """
        trials = self._tables.table(connection, "trials")
        its_trial = trials.c.trial_id == row.trial_id
        found = connection.execute(select(trials.c.state).where(its_trial).with_for_update()).scalar_one_or_none()
        if found is None or TrialState[found].is_finished():
            return False
        values: dict[str, Any] = {"state": row.state}
        start = naive(row.started or row.updated)
        if row.state == "RUNNING" and found != "RUNNING":
            values["datetime_start"] = start
        if TrialState[row.state].is_finished():
            values["datetime_start"] = func.coalesce(trials.c.datetime_start, start)
            values["datetime_complete"] = naive(row.finished or row.updated)
            self._tables.replace(connection, "trial_values", "objective", value_rows(row))
            self._tables.replace(connection, "trial_user_attributes", "key", attribute_rows(row))
        connection.execute(update(trials).where(its_trial).values(values))
        return True

    def describe(self, connection: Connection, row: CellRow) -> None:
        """Attach to the row's trial what is known of it, also after it was closed."""
        trials = self._tables.table(connection, "trials")
        if connection.execute(select(trials.c.trial_id).where(trials.c.trial_id == row.trial_id)).first():
            self._tables.replace(connection, "trial_user_attributes", "key", attribute_rows(row))

    def prune(self, connection: Connection, study: str, now: datetime) -> None:
        """Close the trials of the study's cancelled cells, however many."""
        trials = self._tables.table(connection, "trials")
        cancelled = select(cells.c.trial_id).where(cells.c.study == study, cells.c.state == "PRUNED")
        connection.execute(
            update(trials)
            .where(trials.c.trial_id.in_(cancelled), trials.c.state.in_(("WAITING", "RUNNING")))
            .values(
                state="PRUNED",
                datetime_start=func.coalesce(trials.c.datetime_start, naive(now)),
                datetime_complete=naive(now),
            )
        )

    def add(
        self, connection: Connection, study: str, points: Sequence[Mapping[str, Scalar]], rows: Sequence[CellRow]
    ) -> None:
        """Make a trial for each of `rows`, in the state it has, and note it in the ledger.

        Args:
            points: of every cell of the grid; their values are the choices of the parameters.
            rows: the cells that get a (new) trial.
        """
        if not rows:
            return
        study_id = self._study_id(connection, study)
        trials = self._tables.table(connection, "trials")
        of_study = trials.c.study_id == study_id
        first = connection.execute(select(func.count()).where(of_study)).scalar_one()
        connection.execute(
            insert(trials),
            [
                {
                    "number": first + offset,
                    "study_id": study_id,
                    "state": row.state,
                    "datetime_start": naive(row.started or row.updated) if row.state != "WAITING" else None,
                    "datetime_complete": naive(row.finished or row.updated)
                    if TrialState[row.state].is_finished()
                    else None,
                }
                for offset, row in enumerate(rows)
            ],
        )
        ids = self._tables.ids(connection, study_id, first)
        made = [replace(row, trial_id=ids[first + k], trial_number=first + k) for k, row in enumerate(rows)]
        texts = choice_texts(points)
        number = {axis: {value: place for place, value in enumerate(of)} for axis, of in choices(points).items()}
        self._tables.insert(
            connection,
            "trial_params",
            [
                {
                    "trial_id": row.trial_id,
                    "param_name": axis,
                    "param_value": number[axis][value],
                    "distribution_json": texts[axis],
                }
                for row in made
                for axis, value in row.point.items()
            ],
        )
        said = [line for row in made for line in name_rows(row) + attribute_rows(row)]
        self._tables.insert(connection, "trial_user_attributes", said)
        self._tables.insert(connection, "trial_values", [line for row in made for line in value_rows(row)])
        change_rows(connection, study, [link(row) for row in made])

    def align(self, connection: Connection, study: str, grid: Sequence[CellRow]) -> list[str]:
        """Make the view show the table, and say what did not.

        Optuna's choices cannot grow: where the grid's axes changed, or trials show cells outside the
        grid, all trials are made anew.

        Args:
            grid: every cell of the study's latest definition.
        """
        study_id = self._study_id(connection, study)
        found = self._tables.seen(connection, study_id)
        of_cell: dict[str, list[SeenTrial]] = defaultdict(list)
        strangers: list[SeenTrial] = []
        for trial in found:
            (strangers if trial.cell_id is None else of_cell[trial.cell_id]).append(trial)
        points = [row.point for row in grid]
        outside = of_cell.keys() - {row.cell_id for row in grid}
        if outside or (of_cell and self._tables.choices(connection, study_id) != set(choice_texts(points).items())):
            self._tables.clear(connection, study_id)
            connection.execute(update(cells).where(cells.c.study == study).values(trial_id=None, trial_number=None))
            self.add(connection, study, points, grid)
            return [f"the grid changed: Optuna's {len(found)} trials made anew as {len(grid)}"]
        said, missing, links = [], [], []
        for row in grid:
            if not (its_trials := of_cell.get(row.cell_id)):
                missing.append(row)
                said.append(f"{row.name}: had no Optuna trial; made")
                continue
            *older, trial = its_trials
            strangers += older
            linked = replace(row, trial_id=trial.trial_id, trial_number=trial.number)
            if linked != row:
                links.append(link(linked))
            if trial.state != row.state:
                said.append(f"{row.name}: Optuna's trial {trial.number} was {trial.state}; now {row.state}")
                if not self.bring(connection, linked):
                    missing.append(row)
        change_rows(connection, study, links)
        self.add(connection, study, points, missing)
        for trial in strangers:
            if not TrialState[trial.state].is_finished():
                said.append(f"Optuna's trial {trial.number} was {trial.state} and is no cell's; now FAIL")
                with self._joined(connection) as storage:
                    storage.set_trial_state_values(trial.trial_id, TrialState.FAIL)
        return said

    def _study_id(self, connection: Connection, study: str) -> int:
        """Return Optuna's number of the study, made if need be."""
        with self._joined(connection) as storage:
            try:
                return int(storage.get_study_id_from_name(study))
            except KeyError:
                return int(storage.create_new_study([StudyDirection.MAXIMIZE], study))

    @contextmanager
    def _joined(self, connection: Connection) -> Iterator[RDBStorage]:
        """Let Optuna's storage work inside the connection's transaction; its commits are savepoints."""
        registry = self._storage.scoped_session.registry
        registry.set(Session(bind=connection, join_transaction_mode="create_savepoint"))
        try:
            yield self._storage
        except StorageInternalError as error:
            raise (error.__cause__ or error) from error
        finally:
            registry().close()
            registry.clear()
