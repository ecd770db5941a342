"""Schemas: fresh tables, older ones migrated with nothing lost, newer ones refused; on every database."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect

from tests.ledger.conftest import METRICS, MakeStudy, claimed, let_go, start, statement, trials_of
from tracker.ledger import schema
from tracker.ledger.database import Database
from tracker.ledger.ledger import Ledger
from tracker.ledger.tables import SCHEMA
from tracker.study.errors import LedgerError
from tracker.study.failures import Failure
from tracker.study.home import Home

CELLS_0001 = """
CREATE TABLE cells (
    study VARCHAR(80) NOT NULL,
    cell_id VARCHAR(12) NOT NULL,
    name TEXT NOT NULL,
    point JSON NOT NULL,
    identity JSON NOT NULL,
    position INTEGER NOT NULL,
    in_grid BOOLEAN NOT NULL,
    state VARCHAR(8) NOT NULL,
    worker TEXT,
    lease_expires {moment},
    token INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    failure_kind TEXT,
    failure_message TEXT,
    trial_id INTEGER,
    trial_number INTEGER,
    run_id VARCHAR(64),
    metrics JSON,
    seconds FLOAT,
    created {moment} NOT NULL,
    updated {moment} NOT NULL,
    started {moment},
    finished {moment},
    PRIMARY KEY (study, cell_id)
)
"""
"""What the first version of the program made, as the databases recorded it."""

COLUMNS_0001 = [line.split()[0] for line in CELLS_0001.splitlines() if line.startswith("    ") and "KEY" not in line]

MIGRATE_AND_DIE = """
import os, signal, sys
from alembic.migration import MigrationContext
from tracker.ledger.ledger import Ledger
MigrationContext.stamp = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
Ledger(sys.argv[1])
"""

OPEN = """
import sys
from tracker.ledger.ledger import Ledger
sys.stdin.readline()
with Ledger(sys.argv[1]) as ledger:
    print(ledger.schema, len(ledger.studies()))
"""


def age(url: str) -> None:
    """Turn a ledger of today into what the first version would have left."""
    columns = ", ".join(COLUMNS_0001)
    moment = "DATETIME" if url.startswith("sqlite") else "TIMESTAMP WITHOUT TIME ZONE"
    for sql in (
        f"CREATE TABLE kept AS SELECT {columns} FROM cells",  # noqa: S608
        "DROP TABLE cells",
        "DROP TABLE ledger_studies",
        "DROP TABLE devices_aside",
        CELLS_0001.format(moment=moment),
        "CREATE INDEX cells_queue ON cells (study, state, position)",
        f"INSERT INTO cells ({columns}) SELECT {columns} FROM kept",  # noqa: S608
        "DROP TABLE kept",
        "UPDATE ledger_version SET version_num = '0001'",
    ):
        statement(url, sql)


def old_cells(url: str) -> list[tuple[object, ...]]:
    """Read the columns the first version knew, of every cell."""
    texts = [f"CAST({column} AS TEXT)" for column in COLUMNS_0001]
    return statement(url, f"SELECT {', '.join(texts)} FROM cells ORDER BY study, position, cell_id")  # noqa: S608


def columns_of(url: str, table: str) -> set[str]:
    """Return the names of a table's columns."""
    engine = create_engine(url)
    names = {column["name"] for column in inspect(engine).get_columns(table)}
    engine.dispose()
    return names


@pytest.fixture
def aged(empty_url: str, make_study: MakeStudy) -> str:
    """The URL of a database of the first version, with a cell in each state."""
    with Ledger(empty_url) as ledger:
        ledger.enroll(make_study())
        ledger.enroll(make_study(name="other", seeds=(1,)))
        done, failed = claimed(ledger), claimed(ledger)
        claimed(ledger, worker="at it")
        ledger.leases.complete(done, METRICS, "run-1", 2.5)
        ledger.leases.fail(failed, Failure("exception", "ValueError", "no"), "run-2")
    age(empty_url)
    return empty_url


def test_an_older_database_is_migrated_when_it_is_opened(aged: str, make_study: MakeStudy) -> None:
    """All rows and trials are there as they were, and the study goes on from them."""
    before, trials = old_cells(aged), trials_of(aged)
    assert len(before) == 6
    with Ledger(aged) as ledger:
        assert ledger.schema == SCHEMA
        assert old_cells(aged) == before
        assert trials_of(aged) == trials
        rows = ledger.rows("small")
        assert [row.state for row in rows] == ["COMPLETE", "FAIL", "RUNNING", "WAITING"]
        assert [(row.failure_class, row.failures) for row in rows][:2] == [(None, 0), ("exception", 1)]
        assert {(row.run_key, row.last_epoch, row.not_before, row.micro_batches) for row in rows} == {
            (None, None, None, 1)
        }
        assert [row.lease_seconds for row in rows] == [None, None, 60.0, None]
        assert {study.study for study in ledger.studies()} == {"small", "other"}
        assert ledger.definition("small") is None
        ledger.pause("other", "by hand")
        assert claimed(ledger).run_key.startswith(rows[3].cell_id)
        assert [row.worker for row in ledger.leases.reclaim_worker("small", "at it")] == ["at it"]
        assert [row.run_id for row in ledger.retry("small")] == ["run-2"]
        assert ledger.enroll(make_study(seeds=(1, 2, 3))).kept == 4
        assert ledger.mend("small") == []


def test_an_older_file_is_kept_beside_the_migrated_one(home: Home, make_study: MakeStudy) -> None:
    """The copy is the database as it was, whole, and nothing else is left behind."""
    with Ledger.local(home) as ledger:
        ledger.enroll(make_study())
    url = f"sqlite:///{home.trials_db}"
    age(url)
    before = old_cells(url)
    Ledger.local(home).close()
    copy = home.root / "trials.db.0001.backup"
    assert old_cells(f"sqlite:///{copy}") == before
    assert statement(f"sqlite:///{copy}", "SELECT version_num FROM ledger_version") == [("0001",)]
    assert statement(f"sqlite:///{copy}", "PRAGMA integrity_check") == [("ok",)]
    names = {path.name for path in home.root.iterdir()}
    assert {name for name in names if not name.endswith(("-wal", "-shm", ".lock"))} == {"trials.db", copy.name}


def test_without_room_for_the_copy_nothing_is_migrated(home: Home) -> None:
    """An older file stays as it is when it cannot be copied first."""
    Ledger.local(home).close()
    url = f"sqlite:///{home.trials_db}"
    age(url)
    (home.root / "trials.db.0001.backup").mkdir()
    with pytest.raises(LedgerError, match=r"trials\.db: .*backup cannot be written"):
        Ledger.local(home)
    assert statement(url, "SELECT version_num FROM ledger_version") == [("0001",)]
    assert columns_of(url, "cells") == set(COLUMNS_0001)
    assert not list(home.root.glob("*.tmp"))


def test_a_kill_in_the_middle_of_a_migration_leaves_the_old_schema(aged: str) -> None:
    """A process killed when all is changed but the version has changed nothing; the next one migrates."""
    before = old_cells(aged)
    victim = start(MIGRATE_AND_DIE, aged)
    _, errors = victim.communicate(timeout=60)
    assert (victim.returncode, errors) == (-signal.SIGKILL, "")
    assert statement(aged, "SELECT version_num FROM ledger_version") == [("0001",)]
    assert columns_of(aged, "cells") == set(COLUMNS_0001)
    assert columns_of(aged, "trials") and old_cells(aged) == before
    with Ledger(aged) as ledger:
        assert ledger.schema == SCHEMA
    assert old_cells(aged) == before


def test_an_older_database_is_migrated_once(aged: str) -> None:
    """Of several processes that open it at once one migrates, the others wait, and nobody fails."""
    openers = [start(OPEN, aged) for _ in range(3)]
    for opener in openers:
        let_go(opener)
    assert [opener.communicate(timeout=60) for opener in openers] == [(f"{SCHEMA} 2\n", "")] * 3


def described(url: str) -> dict[str, Any]:
    """Return all that a database says about the ledger's tables."""
    engine = create_engine(url)
    seen = inspect(engine)
    tables = {}
    for table in ("cells", "ledger_studies", "devices_aside", "ledger_version"):
        columns = {c["name"]: (str(c["type"]), c["nullable"], c["default"]) for c in seen.get_columns(table)}
        tables[table] = (columns, seen.get_pk_constraint(table)["constrained_columns"], seen.get_indexes(table))
    engine.dispose()
    return tables


def test_migrations_end_where_fresh_tables_begin(empty_url: str) -> None:
    """The revisions, run from nothing, make the tables that a fresh database gets at once."""
    database = Database(empty_url)
    schema.create(database)
    fresh = described(empty_url)
    for table in fresh:
        statement(empty_url, f"DROP TABLE {table}")
    with database.writing() as connection:
        schema.upgrade(connection, None)
    database.close()
    assert described(empty_url) == fresh
    assert len(fresh["cells"][0]) == len(COLUMNS_0001) + 7
    assert statement(empty_url, "SELECT version_num FROM ledger_version") == [(SCHEMA,)]


def test_a_newer_schema_is_refused(empty_url: str) -> None:
    """A database written by a newer version of the program is left alone."""
    Ledger(empty_url).close()
    statement(empty_url, "UPDATE ledger_version SET version_num = '9999'")
    with pytest.raises(LedgerError, match=rf"its schema 9999 is newer than this program's {SCHEMA}"):
        Ledger(empty_url)
    assert statement(empty_url, "SELECT version_num FROM ledger_version") == [("9999",)]
