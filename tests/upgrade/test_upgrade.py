"""Stores that earlier programs wrote: opened, read, compared and gone on with; newer ones refused."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks.postgresql import lacking
from tests.ledger.conftest import make_database, statement
from tests.sweep.conftest import environment, run_tracker
from tests.upgrade.make_stores import STORES, STUDY, restore
from tracker.cli.main import cli
from tracker.ledger.ledger import Ledger
from tracker.ledger.tables import SCHEMA
from tracker.study.errors import LedgerError, TrackingError
from tracker.study.home import Home
from tracker.tracking.ending import runs_by_key
from tracker.tracking.reading import read_runs
from tracker.tracking.server.addresses import bulk_reading_uri, database_uri
from tracker.tracking.server.lifecycle import start, stop
from tracker.tracking.server.upgrading import (
    bring_up_to_date,
    known_revisions,
    refuse_another_schema,
    revision,
)

NAME = "tiny"
WRITTEN_BY = {
    "first": ("first", "1c63d62: torch 2.15.0, mlflow 3.17.2, optuna 5.0.0, sqlalchemy 2.1.9"),
    "today": ("today", "this program: torch 2.15.0, mlflow 3.17.2, optuna 5.0.0, sqlalchemy 2.1.9"),
    "mlflow-3.4.0": ("today", "plain calls: mlflow 3.4.0, sqlalchemy 2.0.58"),
}
"""Each store: whose trial database goes with it, and what its dump says of its origin."""
OLD_REVISION = "71994744cf8e"
"""MLflow 3.4.0's."""

KILLED = """
import os, signal, sys
from pathlib import Path
from tracker.study.home import Home
from tracker.tracking.server import upgrading
real, left = upgrading._copy, int(sys.argv[2])
def dying(source, target):
    global left
    real(source, target)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
upgrading._copy = dying
upgrading.bring_up_to_date(Home(Path(sys.argv[1])))
"""


def stored(name: str, home: Home) -> Home:
    """Make a home with the databases of a store."""
    home.make(home.root)
    trials, written = WRITTEN_BY[name]
    assert restore(f"{name}.tracking", home.tracking_db) == written
    restore(f"{trials}.trials", home.trials_db)
    return home


def ask(home: Home, *arguments: str) -> Result:
    """Run a command in this process."""
    done = CliRunner().invoke(cli, arguments, env=environment(home.root), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def states(home: Home) -> list[str]:
    """Return the states of the study's cells, sorted."""
    with Ledger.local(home) as ledger:
        assert ledger.schema == SCHEMA
        return sorted(row.state for row in ledger.rows(NAME))


def content(database: Path) -> list[str]:
    """Return every line of MLflow's tables that hold results."""
    with closing(sqlite3.connect(database)) as opened:
        return [
            repr(row)
            for query in (
                "SELECT run_uuid, name, status, start_time, end_time FROM runs ORDER BY run_uuid",
                "SELECT run_uuid, key, value, timestamp, step, is_nan FROM metrics ORDER BY 1, 2, 5, 4",
                "SELECT run_uuid, key, value FROM params ORDER BY 1, 2",
                "SELECT run_uuid, key, value FROM tags ORDER BY 1, 2",
                "SELECT name, digest, dataset_source, dataset_profile FROM datasets ORDER BY 1, 2",
            )
            for row in opened.execute(query)
        ]


def test_every_store_is_tested() -> None:
    """The folder holds what the tests open, small."""
    names = {path.name for path in STORES.iterdir()}
    wanted = {f"{name}.tracking.sql.xz" for name in WRITTEN_BY} | {
        f"{of}.trials.sql.xz" for of, _ in WRITTEN_BY.values()
    }
    assert names == wanted
    assert sum(path.stat().st_size for path in STORES.iterdir()) < 60_000


@pytest.mark.parametrize("name", ["first", pytest.param("today", marks=pytest.mark.soak)])
def test_an_older_ledger_opens(name: str, home: Home) -> None:
    """Status and comparison read what an earlier program left half done; a migrated ledger is kept as it was."""
    stored(name, home)
    shown = ask(home, "status", "--study", NAME)
    assert "4 cells: 3 done, 1 waiting" in shown.stderr
    assert states(home) == ["COMPLETE", "COMPLETE", "COMPLETE", "WAITING"]
    kept = home.trials_db.with_name("trials.db.0001.backup")
    assert kept.exists() == (name == "first")
    table = ask(home, "compare", "--study", NAME, "--format", "csv").stdout
    assert len(read_runs(database_uri(home), NAME)) == 4
    assert table.count("finetune") >= 1 and "minmax" in table


@pytest.mark.soak
def test_a_store_of_an_older_mlflow_is_upgraded(tmp_path: Path) -> None:
    """Reading brings it to today's schema with nothing lost, keeps it as it was, and does so once."""
    home = stored("mlflow-3.4.0", Home(tmp_path / "a 50% home" / "mlruns"))
    before = content(home.tracking_db)
    assert len(before) > 200 and revision(home.tracking_db) == OLD_REVISION
    uri = bulk_reading_uri(home)
    assert revision(home.tracking_db) == known_revisions()[1]
    assert content(home.tracking_db) == before
    kept = home.tracking_db.with_name(f"tracking.db.{OLD_REVISION}.backup")
    assert revision(kept) == OLD_REVISION and content(kept) == before
    assert not [path for path in home.server.iterdir() if "upgrading" in path.name]
    with closing(sqlite3.connect(home.tracking_db)) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert bring_up_to_date(home) is None
    runs = runs_by_key(uri, NAME)
    assert len(runs) == 5 and {run.status for run in runs.values()} == {"FINISHED", "KILLED"}


def test_a_killed_upgrade_leaves_the_old_store(home: Home) -> None:
    """Until the migrated content is there as a whole, the file is the old one; nobody mistakes a copy for it."""
    stored("mlflow-3.4.0", home)
    before = content(home.tracking_db)
    command = [sys.executable, "-c", KILLED, str(home.root), "2"]
    done = subprocess.run(command, env=os.environ | environment(home.root), capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert revision(home.tracking_db) == OLD_REVISION and content(home.tracking_db) == before


def test_a_store_of_a_newer_mlflow_is_refused(home: Home) -> None:
    """Neither reading nor a server touches it; the message names both versions."""
    stored("today", home)
    with closing(sqlite3.connect(home.tracking_db)) as opened, opened:
        opened.execute("UPDATE alembic_version SET version_num = 'feedc0ffee00'")
    before = home.tracking_db.read_bytes()
    for use in (bulk_reading_uri, start):
        with pytest.raises(TrackingError, match=r"its schema feedc0ffee00 is newer than MLflow \d.* knows"):
            use(home)
    assert home.tracking_db.read_bytes() == before


@pytest.mark.soak
@pytest.mark.skipif(lacking() is not None, reason=str(lacking()))
def test_another_schema_on_postgresql_is_refused(postgresql: str) -> None:
    """A server does not migrate a database that others may use: it names the command, or what wrote it."""
    url = make_database(postgresql)
    refuse_another_schema(url, "the database")  # no tables yet: the server will make them
    newest = known_revisions()[1]
    statement(url, "CREATE TABLE alembic_version (version_num VARCHAR(32))")
    statement(url, f"INSERT INTO alembic_version VALUES ('{newest}')")  # noqa: S608
    refuse_another_schema(url, "the database")
    statement(url, f"UPDATE alembic_version SET version_num = '{OLD_REVISION}'")  # noqa: S608
    with pytest.raises(TrackingError, match=rf"the database: .* of an older MLflow \({OLD_REVISION}\)") as error:
        refuse_another_schema(url, "the database")
    assert "mlflow db upgrade the database" in str(error.value)
    statement(url, "UPDATE alembic_version SET version_num = 'feedc0ffee00'")
    with pytest.raises(TrackingError, match="its schema feedc0ffee00 is newer"):
        refuse_another_schema(url, "the database")
    with pytest.raises(TrackingError, match="the database: "):
        refuse_another_schema("postgresql+psycopg://127.0.0.1:1/nothing", "the database")


def test_optunas_tables_of_another_version_are_refused(home: Home) -> None:
    """Optuna's own check of its schema reaches the user as an error of the trial database."""
    stored("today", home)
    with closing(sqlite3.connect(home.trials_db)) as opened, opened:
        opened.execute("UPDATE alembic_version SET version_num = 'v9.9.9'")
    with Ledger.local(home) as ledger, pytest.raises(LedgerError, match=r"trials\.db"):
        ledger.mend(NAME)


def test_the_installed_mlflow_has_one_newest_schema() -> None:
    """Its revisions are found in its files, and MLflow agrees on the newest."""
    from mlflow.store.db.utils import _get_latest_schema_revision

    known, newest = known_revisions()
    assert len(known) > 40 and OLD_REVISION in known
    assert newest == _get_latest_schema_revision()


@pytest.mark.soak
@pytest.mark.parametrize("name", sorted(WRITTEN_BY))
def test_a_sweep_goes_on_with_an_older_store(name: str, home: Home) -> None:
    """Only the cell that was not done is trained, and the server starts on the store.

    It goes on in the run it had; the first ledger named no run for its next attempt, so there it gets a new one.
    """
    stored(name, home)
    before = {run.run_id: run.metrics for run in read_runs(bulk_reading_uri(home), NAME) if run.status == "FINISHED"}
    assert len(before) == 3
    study = home.root.parent / f"{NAME}.yaml"
    study.write_text(STUDY)
    assert start(home).uri is not None
    stop(home)
    run_tracker(home.root, "sweep", "--study", str(study), "--workers", "1")
    assert states(home) == ["COMPLETE"] * 4
    runs = read_runs(database_uri(home), NAME)
    assert sorted(run.status for run in runs) == ["FINISHED"] * 4 + ["KILLED"] * (name == "first")
    assert {run.run_id: run.metrics for run in runs if run.run_id in before} == before
