"""Optuna's view of the grid: one study, one trial a cell, categorical parameters.

The ledger's table is the truth. Every change of it and of the view is one transaction, so a kill at
any moment leaves both or neither. State changes go through Optuna's own storage, joined to the
ledger's transaction; whole grids are written straight into its tables, since its API takes 5 ms a
trial (2,000 cells: 10 s with the database locked; this way 0.3 s).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, distribution_to_json
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, MetaData, Table, delete, func, insert, select, update
from sqlalchemy.orm import Session

from tracker.ledger.database import connect_args
from tracker.ledger.queries import change_rows
from tracker.ledger.rows import OBJECTIVE, CellRow
from tracker.ledger.tables import cells
from tracker.study.errors import LedgerError

TRIAL_TABLES = (
    "trials",
    "trial_params",
    "trial_values",
    "trial_user_attributes",
    "trial_system_attributes",
    "trial_intermediate_values",
    "trial_heartbeats",
)

optuna.logging.set_verbosity(optuna.logging.WARNING)  # else every study made is announced on stderr


class Trials:
    """Optuna's tables in the database at `url`, made if they are not there.

    Every method takes the connection of the ledger's transaction and becomes part of it.

    Args:
        name: the database as messages call it.

    Raises:
        LedgerError: they were made by another version of Optuna.
    """

    def __init__(self, url: str, name: str) -> None:
        try:
            self._storage = RDBStorage(url, engine_kwargs={"connect_args": connect_args(url)})
        except RuntimeError as error:  # how Optuna says that the schema is not its own
            raise LedgerError(f"{name}: {error}") from error
        except StorageInternalError as error:
            raise (error.__cause__ or error) from error
        self._storage.engine.dispose()  # from here on every statement runs on the ledger's connections
        self._tables: dict[str, Table] = {}

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

    def bring(self, connection: Connection, row: CellRow) -> bool:
        """Give the row's trial the row's state; False where Optuna has no such trial or has closed it.

        That happens when someone else writes to the Optuna study; `align` mends it.
        """
        if row.trial_id is None:
            return False
        state = TrialState[row.state]
        try:
            with self._joined(connection) as storage:
                if state.is_finished():
                    storage.set_trial_state_values(row.trial_id, TrialState.RUNNING)  # a start time, if it has none
                    for key, value in _attributes(row).items():
                        storage.set_trial_user_attr(row.trial_id, key, value)
                storage.set_trial_state_values(row.trial_id, state, _values(row))
        except (KeyError, UpdateFinishedTrialError):
            return False
        return True

    def add(self, connection: Connection, study: str, grid: Sequence[CellRow], rows: Sequence[CellRow]) -> None:
        """Make a trial for each of `rows`, in the state it has, and note it in the ledger.

        Args:
            grid: every cell of the study; their values are the choices of the parameters.
            rows: the cells that get a (new) trial.
        """
        if not rows:
            return
        study_id = self._study_id(connection, study)
        trials = self._table(connection, "trials")
        of_study = trials.c.study_id == study_id
        first = connection.execute(select(func.count()).where(of_study)).scalar_one()
        connection.execute(
            insert(trials),
            [
                {
                    "number": first + offset,
                    "study_id": study_id,
                    "state": row.state,
                    "datetime_start": _naive(row.started or row.updated) if row.state != "WAITING" else None,
                    "datetime_complete": _naive(row.finished or row.updated)
                    if TrialState[row.state].is_finished()
                    else None,
                }
                for offset, row in enumerate(rows)
            ],
        )
        ids = self._ids(connection, study_id)
        made = [replace(row, trial_id=ids[first + k], trial_number=first + k) for k, row in enumerate(rows)]
        choices = distributions(grid)
        texts = {axis: distribution_to_json(choice) for axis, choice in choices.items()}
        self._insert(
            connection,
            "trial_params",
            [
                {
                    "trial_id": row.trial_id,
                    "param_name": axis,
                    "param_value": choices[axis].to_internal_repr(value),
                    "distribution_json": texts[axis],
                }
                for row in made
                for axis, value in row.point.items()
            ],
        )
        self._insert(
            connection,
            "trial_user_attributes",
            [
                {"trial_id": row.trial_id, "key": key, "value_json": json.dumps(value)}
                for row in made
                for key, value in {"cell_id": row.cell_id, "cell": row.name, **_attributes(row)}.items()
            ],
        )
        self._insert(
            connection,
            "trial_values",
            [
                {"trial_id": row.trial_id, "objective": 0, "value": value, "value_type": "FINITE"}
                for row in made
                for value in _values(row) or ()
            ],
        )
        change_rows(connection, study, [_link(row) for row in made])

    def align(self, connection: Connection, study: str, grid: Sequence[CellRow]) -> list[str]:
        """Make the view show the table, and say what did not.

        Optuna's choices cannot grow: where the grid's axes changed, or trials show cells outside the
        grid, all trials are made anew.

        Args:
            grid: every cell of the study's latest definition.
        """
        study_id = self._study_id(connection, study)
        with self._joined(connection) as storage:
            found = storage.get_all_trials(study_id, deepcopy=False)
        of_cell: dict[str, list[FrozenTrial]] = defaultdict(list)
        strangers: list[FrozenTrial] = []
        for trial in found:
            (of_cell[trial.user_attrs["cell_id"]] if "cell_id" in trial.user_attrs else strangers).append(trial)
        choices = distributions(grid)
        in_grid = {row.cell_id for row in grid}
        outside = [cell_id for cell_id in of_cell if cell_id not in in_grid]
        if outside or any(trial.distributions != choices for trials in of_cell.values() for trial in trials):
            self._clear(connection, study, study_id)
            self.add(connection, study, grid, grid)
            return [f"the grid changed: Optuna's {len(found)} trials made anew as {len(grid)}"]
        ids = self._ids(connection, study_id)
        said, missing = [], []
        for row in grid:
            if not (its_trials := of_cell.get(row.cell_id)):
                missing.append(row)
                said.append(f"{row.name}: had no Optuna trial; made")
                continue
            *older, trial = its_trials
            strangers += older
            linked = replace(row, trial_id=ids[trial.number], trial_number=trial.number)
            if linked != row:
                change_rows(connection, study, [_link(linked)])
            if trial.state.name != row.state:
                said.append(f"{row.name}: Optuna's trial {trial.number} was {trial.state.name}; now {row.state}")
                if not self.bring(connection, linked):
                    missing.append(row)
        self.add(connection, study, grid, missing)
        for trial in strangers:
            if not trial.state.is_finished():
                said.append(f"Optuna's trial {trial.number} was {trial.state.name} and is no cell's; now FAIL")
                with self._joined(connection) as storage:
                    storage.set_trial_state_values(ids[trial.number], TrialState.FAIL)
        return said

    def _study_id(self, connection: Connection, study: str) -> int:
        """Return Optuna's number of the study, made if need be."""
        with self._joined(connection) as storage:
            try:
                return int(storage.get_study_id_from_name(study))
            except KeyError:
                return int(storage.create_new_study([StudyDirection.MAXIMIZE], study))

    def _clear(self, connection: Connection, study: str, study_id: int) -> None:
        """Delete all trials of the study; its attributes stay."""
        trials = self._table(connection, "trials")
        its_trials = select(trials.c.trial_id).where(trials.c.study_id == study_id)
        for name in reversed(TRIAL_TABLES):
            table = self._table(connection, name)
            connection.execute(delete(table).where(table.c.trial_id.in_(its_trials)))
        connection.execute(update(cells).where(cells.c.study == study).values(trial_id=None, trial_number=None))

    def _ids(self, connection: Connection, study_id: int) -> dict[int, int]:
        """Return the database's id of each trial, by Optuna's number."""
        trials = self._table(connection, "trials")
        found = connection.execute(select(trials.c.number, trials.c.trial_id).where(trials.c.study_id == study_id))
        return {row.number: row.trial_id for row in found}

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

    def _table(self, connection: Connection, name: str) -> Table:
        """Return one of Optuna's tables, as it is in this database."""
        if name not in self._tables:
            self._tables[name] = Table(name, MetaData(), autoload_with=connection, resolve_fks=False)
        return self._tables[name]

    def _insert(self, connection: Connection, name: str, values: list[dict[str, Any]]) -> None:
        if values:
            connection.execute(insert(self._table(connection, name)), values)


def distributions(grid: Sequence[CellRow]) -> dict[str, CategoricalDistribution]:
    """Return each axis's choices: the values its cells have, in the order of the grid."""
    values: dict[str, dict[Any, None]] = defaultdict(dict)
    for row in grid:
        for axis, value in row.point.items():
            values[axis][value] = None
    return {axis: CategoricalDistribution(list(choices)) for axis, choices in values.items()}


def _link(row: CellRow) -> dict[str, Any]:
    """Return the change that notes which trial is the row's."""
    return {"of_cell": row.cell_id, "trial_id": row.trial_id, "trial_number": row.trial_number}


def _attributes(row: CellRow) -> dict[str, Any]:
    """Return what a finished trial says beside its value."""
    if row.state == "COMPLETE":
        return {**(row.metrics or {}), "mlflow_run_id": row.run_id, "seconds": row.seconds}
    if row.state == "FAIL":
        return {"failure": f"{row.failure_kind}: {row.failure_message}", "mlflow_run_id": row.run_id}
    return {}


def _values(row: CellRow) -> list[float] | None:
    return [row.metrics[OBJECTIVE]] if row.state == "COMPLETE" and row.metrics else None


def _naive(moment: datetime) -> datetime:
    """Return naive UTC, as Optuna's tables have it."""
    return moment.astimezone(UTC).replace(tzinfo=None)
