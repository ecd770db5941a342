"""Optuna's tables, read and written directly; the caller holds the transaction."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from sqlalchemy import Connection, MetaData, Table, and_, delete, insert, select

TRIAL_TABLES = (
    "trials",
    "trial_params",
    "trial_values",
    "trial_user_attributes",
    "trial_system_attributes",
    "trial_intermediate_values",
    "trial_heartbeats",
)


class SeenTrial(NamedTuple):
    """A trial as Optuna's tables have it."""

    number: int
    trial_id: int
    state: str
    cell_id: str | None


class OptunaTables:
    """Optuna's tables as they are in one database; each is looked at once."""

    def __init__(self) -> None:
        self._tables: dict[str, Table] = {}

    def table(self, connection: Connection, name: str) -> Table:
        """Return one of Optuna's tables, as it is in this database."""
        if name not in self._tables:
            self._tables[name] = Table(name, MetaData(), autoload_with=connection, resolve_fks=False)
        return self._tables[name]

    def insert(self, connection: Connection, name: str, values: list[dict[str, Any]]) -> None:
        """Write lines, however many."""
        if values:
            connection.execute(insert(self.table(connection, name)), values)

    def replace(self, connection: Connection, name: str, key: str, values: list[dict[str, Any]]) -> None:
        """Write lines of one trial, in place of those with the same `key`."""
        if values:
            table = self.table(connection, name)
            same = table.c[key].in_([line[key] for line in values])
            connection.execute(delete(table).where(table.c.trial_id == values[0]["trial_id"], same))
            self.insert(connection, name, values)

    def seen(self, connection: Connection, study_id: int) -> list[SeenTrial]:
        """Return the study's trials in the order they were made."""
        trials, said = self.table(connection, "trials"), self.table(connection, "trial_user_attributes")
        its_name = and_(said.c.trial_id == trials.c.trial_id, said.c.key == "cell_id")
        query = select(trials.c.number, trials.c.trial_id, trials.c.state, said.c.value_json)
        query = query.select_from(trials.outerjoin(said, its_name)).where(trials.c.study_id == study_id)
        return [
            SeenTrial(number, trial_id, state, None if text is None else str(json.loads(text)))
            for number, trial_id, state, text in connection.execute(query.order_by(trials.c.number))
        ]

    def choices(self, connection: Connection, study_id: int) -> set[tuple[str, str]]:
        """Return the distributions that the trials of cells have, each as parameter and text."""
        trials, params = self.table(connection, "trials"), self.table(connection, "trial_params")
        said = self.table(connection, "trial_user_attributes")
        of_cells = select(trials.c.trial_id).join(said, said.c.trial_id == trials.c.trial_id)
        of_cells = of_cells.where(trials.c.study_id == study_id, said.c.key == "cell_id")
        query = select(params.c.param_name, params.c.distribution_json).where(params.c.trial_id.in_(of_cells))
        return {(row.param_name, row.distribution_json) for row in connection.execute(query.distinct())}

    def ids(self, connection: Connection, study_id: int, first: int) -> dict[int, int]:
        """Return the database's id of each trial from the number `first` on, by Optuna's number."""
        trials = self.table(connection, "trials")
        newest = and_(trials.c.study_id == study_id, trials.c.number >= first)
        found = connection.execute(select(trials.c.number, trials.c.trial_id).where(newest))
        return {row.number: row.trial_id for row in found}

    def clear(self, connection: Connection, study_id: int) -> None:
        """Delete all trials of the study; its attributes stay."""
        trials = self.table(connection, "trials")
        its_trials = select(trials.c.trial_id).where(trials.c.study_id == study_id)
        for name in reversed(TRIAL_TABLES):
            table = self.table(connection, name)
            connection.execute(delete(table).where(table.c.trial_id.in_(its_trials)))
