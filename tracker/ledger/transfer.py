"""A study's part of a trial database, taken out as plain values and put into another one.

The rows are carried as they are, Optuna's too: states, attempts, times, metrics. Ids that a
database gives (a trial's, a study's) are given anew; numbers of trials stay.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, DateTime, Row, Table, insert, select

from tracker.ledger.database import Database
from tracker.ledger.ledger import Ledger
from tracker.ledger.optuna_tables import TRIAL_TABLES, OptunaTables
from tracker.ledger.studies import read_study
from tracker.ledger.tables import SCHEMA, cells, ledger_studies
from tracker.study.errors import LedgerError, UsageError

STUDY_TABLES = ("study_directions", "study_user_attributes", "study_system_attributes")
ORIGIN = "imported_from"
"""The attribute of Optuna's study that says what it was imported from."""

Plain = dict[str, Any]


def take_study(url: str, study: str) -> Plain | None:
    """Return all that a trial database has of a study, in plain values; None where it has nothing.

    Raises:
        LedgerError: the database cannot be used.
    """
    Ledger(url).close()  # brings an older schema to today's
    database, optuna = Database(url), OptunaTables()
    try:
        with database.reading() as connection:
            if not (of_study := read_study(connection, study)):
                return None
            return {
                "schema": SCHEMA,
                "optuna": _optuna_schema(connection),
                "study": _plain(of_study),
                "cells": [
                    _plain(row._asdict())
                    for row in connection.execute(
                        select(cells).where(cells.c.study == study).order_by(cells.c.position, cells.c.cell_id)
                    )
                ],
                "trials": _take_trials(connection, optuna, study),
            }
    finally:
        database.close()


def holds_study(url: str, study: str, origin: str) -> bool:
    """Say whether a study was imported into this trial database from the same.

    Raises:
        UsageError: the database has a study of that name that was not.
    """
    Ledger(url).close()
    database, optuna = Database(url), OptunaTables()
    try:
        with database.reading() as connection:
            return _held(connection, optuna, str(database), study, origin)
    finally:
        database.close()


def put_study(
    url: str,
    study: str,
    taken: Plain,
    origin: str,
    rewrite: Callable[[str], str],
    experiments: Mapping[str, str],
) -> bool:
    """Put a study into a trial database, in one transaction; False where it was put there before.

    Args:
        taken: from `take_study`, of this program or an older one.
        rewrite: puts new ids of runs in place of old ones.
        experiments: MLflow's experiments, old id to new.

    Raises:
        UsageError: the database has another study of that name.
        LedgerError: the database cannot be used, or is older than what is put into it.
    """
    Ledger(url).close()
    database, optuna = Database(url), OptunaTables()
    try:
        with database.writing() as connection:
            database.lock_study(connection, study, shared=False)
            if _held(connection, optuna, str(database), study, origin):
                return False
            if _optuna_schema(connection) != taken["optuna"]:
                raise LedgerError(
                    f"{database}: Optuna's tables have schema {_optuna_schema(connection)}, those of the bundle "
                    f"{taken['optuna']}",
                    "use the same version of optuna at both places",
                )
            trial_ids = _put_trials(connection, optuna, study, taken["trials"], origin, rewrite)
            of_study = _typed(ledger_studies, {**taken["study"], "study": study}, str(database))
            of_study["experiment_id"] = experiments.get(str(of_study["experiment_id"]), of_study["experiment_id"])
            of_study["study_run_id"] = of_study["study_run_id"] and rewrite(of_study["study_run_id"])
            connection.execute(insert(ledger_studies).values(of_study))
            rows = [_typed(cells, {**row, "study": study}, str(database)) for row in taken["cells"]]
            for row in rows:
                row["trial_id"] = trial_ids.get(row["trial_number"])
                row["run_id"] = row["run_id"] and rewrite(row["run_id"])
            if rows:
                connection.execute(insert(cells), rows)
            return True
    finally:
        database.close()


def _held(connection: Connection, optuna: OptunaTables, where: str, study: str, origin: str) -> bool:
    studies, said = optuna.table(connection, "studies"), optuna.table(connection, "study_user_attributes")
    study_id = connection.execute(select(studies.c.study_id).where(studies.c.study_name == study)).scalar_one_or_none()
    if study_id is None and not read_study(connection, study):
        return False
    noted = select(said.c.value_json).where(said.c.study_id == study_id, said.c.key == ORIGIN)
    found = connection.execute(noted).scalar_one_or_none()
    if found is not None and json.loads(found) == origin:
        return True
    raise UsageError(
        f"{where} has a study {study!r} already, and it is not what the bundle holds",
        "import into another trial database: --storage URL, or --home DIR",
    )


def _optuna_schema(connection: Connection) -> str:
    """Return the revision of Optuna's tables."""
    return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())


def _take_trials(connection: Connection, optuna: OptunaTables, study: str) -> Plain:
    """Return Optuna's tables of a study; lines of trials by the trial's number."""
    studies, trials = optuna.table(connection, "studies"), optuna.table(connection, "trials")
    study_id = connection.execute(select(studies.c.study_id).where(studies.c.study_name == study)).scalar_one()
    taken: Plain = {}
    for name in STUDY_TABLES:
        table = optuna.table(connection, name)
        lines = connection.execute(select(*_carried(table)).where(table.c.study_id == study_id))
        taken[name] = _sorted(lines)
    for name in TRIAL_TABLES:
        table = optuna.table(connection, name)
        carried = [trials.c.number, *(column for column in _carried(table) if column.name != "number")]
        query = select(*carried).where(trials.c.study_id == study_id)
        if name != "trials":
            query = query.join_from(trials, table, trials.c.trial_id == table.c.trial_id)
        taken[name] = _sorted(connection.execute(query))
    return taken


def _put_trials(
    connection: Connection,
    optuna: OptunaTables,
    study: str,
    taken: Plain,
    origin: str,
    rewrite: Callable[[str], str],
) -> dict[int, int]:
    """Write Optuna's tables of a study; return the id of each trial by its number."""
    studies = optuna.table(connection, "studies")
    connection.execute(insert(studies).values(study_name=study))
    study_id = connection.execute(select(studies.c.study_id).where(studies.c.study_name == study)).scalar_one()
    where = "Optuna's tables"
    noted = [{"key": ORIGIN, "value_json": json.dumps(origin)}]
    for name in STUDY_TABLES:
        lines = [line for line in taken[name] if line.get("key") != ORIGIN]
        lines += noted if name == "study_user_attributes" else []
        table = optuna.table(connection, name)
        optuna.insert(connection, name, [_typed(table, {**line, "study_id": study_id}, where) for line in lines])
    table = optuna.table(connection, "trials")
    trials = [_typed(table, {**line, "study_id": study_id}, where) for line in taken["trials"]]
    optuna.insert(connection, "trials", trials)
    ids = optuna.ids(connection, study_id, 0)
    for name in TRIAL_TABLES[1:]:
        table = optuna.table(connection, name)
        lines = []
        for line in taken[name]:
            values = {**line, "trial_id": ids[line["number"]]}
            del values["number"]
            if isinstance(values.get("value_json"), str):
                values["value_json"] = rewrite(values["value_json"])
            lines.append(_typed(table, values, where))
        optuna.insert(connection, name, lines)
    return ids


def _carried(table: Table) -> list[Any]:
    """Return the columns that mean the same in every database."""
    return [
        column
        for column in table.columns
        if column.name not in ("study_id", "trial_id") and not (column.primary_key and len(table.primary_key) == 1)
    ]


def _sorted(lines: Any) -> list[Plain]:
    """Return lines in an order that does not depend on the database."""
    return sorted((_plain(line._asdict() if isinstance(line, Row) else line) for line in lines), key=_order)


def _order(line: Plain) -> tuple[int, str]:
    return int(line.get("number", 0)), json.dumps(line, sort_keys=True)


def _plain(values: Mapping[str, Any]) -> Plain:
    """Return what JSON can hold: moments as ISO 8601."""
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in values.items()}


def _typed(table: Table, values: Mapping[str, Any], where: str) -> Plain:
    """Return a line as the table takes it.

    Raises:
        LedgerError: it has a column that this program does not know, or a moment that is none.
    """
    typed = dict(values)
    for name, value in values.items():
        if name not in table.c:
            raise LedgerError(
                f"{where}: {table.name} has no column {name!r}: the bundle was written by a newer version of this "
                "program",
                "update the program (pip install --upgrade norm-tracker)",
            )
        kind = table.c[name].type
        kind = getattr(kind, "impl_instance", kind)
        if value is not None and isinstance(kind, DateTime):
            try:
                typed[name] = datetime.fromisoformat(value)
            except (TypeError, ValueError) as error:
                raise LedgerError(f"{where}: {table.name}: {name} is {value!r}, no moment") from error
    return typed
