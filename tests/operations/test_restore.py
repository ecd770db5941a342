"""A restore: the home it makes, whole or not at all, here or in another database."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from click.testing import CliRunner

from tests.ledger.conftest import make_database, trials_of
from tests.operations.small_home import SmallHome, dump, files_of, killed
from tracker.cli.main import cli
from tracker.ledger.addresses import public_name
from tracker.ledger.ledger import Ledger, local_url
from tracker.operations.backing_up import back_up
from tracker.operations.databases import ask_server
from tracker.operations.manifest import read_manifest
from tracker.operations.restoring import restore
from tracker.operations.verifying import find_backup
from tracker.study.errors import UsageError
from tracker.study.home import Home
from tracker.tracking.reading import read_runs
from tracker.tracking.server.addresses import database_uri


def test_the_restored_home_is_the_old_one(made_home: SmallHome, made_backup: Path, tmp_path: Path) -> None:
    """Every run, metric, tag and file, byte by byte; every cell; one that a worker had waits, with what it has done."""
    new = Home(tmp_path / "elsewhere" / 'it\'s 50% "new"')
    done = CliRunner().invoke(cli, ["restore", str(made_backup.parent), "--home", str(new.root)])
    assert done.exit_code == 0, done.output
    assert "1 cell that a worker had wait again" in done.stderr
    assert dump(new.tracking_db) == dump(made_home.home.tracking_db)
    assert dump(new.root / "basic_auth.db") == dump(made_home.home.root / "basic_auth.db")
    kept = {name: each for name, each in files_of(made_home.home, "artifacts", "journal", "sources", "work").items()
            if not name.endswith((".users", ".tmp"))}  # fmt: skip
    assert files_of(new, "artifacts", "journal", "sources", "work") == kept
    assert len(kept) == 9

    with Ledger.local(new) as ledger:
        rows = ledger.rows("small")
        assert ledger.definition("small") == made_home.study.document()
    before = made_home.rows()
    assert [row.state for row in before] == ["COMPLETE", "COMPLETE", "RUNNING", "WAITING"]
    assert rows[:2] == before[:2]
    assert rows[3] == before[3]
    assert (rows[2].state, rows[2].worker, rows[2].lease_expires) == ("WAITING", None, None)
    assert (rows[2].run_key, rows[2].last_epoch, rows[2].failures) == (before[2].run_key, 0, 0)
    states = optuna.trial.TrialState
    found = [trial.state for trial in trials_of(local_url(new))]
    assert found == [states.COMPLETE, states.COMPLETE, states.WAITING, states.WAITING]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere"]
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == [new.root.name]


def test_places_in_the_old_home_become_places_in_the_new_one(small: SmallHome, tmp_path: Path) -> None:
    """Runs that were written without a server name absolute paths; both spellings, and nobody else's."""
    old = small.home.artifacts
    with closing(sqlite3.connect(small.home.tracking_db)) as database, database:
        (first, second) = [row[0] for row in database.execute("SELECT run_uuid FROM runs WHERE name LIKE '%minmax%'")]
        for run, place in ((first, str(old)), (second, old.as_uri())):
            update = "UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?"
            database.execute(update, (f"{place}/1/{run}/artifacts", run))
        like = str(tmp_path / "mlruns-2" / "1")
        database.execute("UPDATE experiments SET artifact_location = ? WHERE experiment_id = 0", (like,))
    new = Home(tmp_path / "new home")
    done = restore(back_up(small.home, tmp_path / "b").folder, new)
    assert done.moved == 2
    places = {run.run_id: run.artifact_uri for run in read_runs(database_uri(new), "small")}
    assert places[first] == f"{new.artifacts}/1/{first}/artifacts"
    assert places[second] == f"{new.artifacts.as_uri()}/1/{second}/artifacts"
    with closing(sqlite3.connect(new.tracking_db)) as database:
        query = "SELECT artifact_location FROM experiments WHERE experiment_id = 0"
        assert database.execute(query).fetchone() == (like,)


def test_a_killed_restore_is_none(made_backup: Path, tmp_path: Path) -> None:
    """Wherever it is killed, there is no home; the next one works and removes what was left."""
    home = Home(tmp_path / "new" / "mlruns")
    for nth in (1, 5, None):
        assert killed(lambda: restore(made_backup, home), nth) == -signal.SIGKILL
    assert not home.root.exists()
    assert [path.name.split("-")[0] for path in home.root.parent.iterdir()] == [".restoring"]
    said: list[str] = []
    restore(made_backup, home, say=said.append)
    assert sum("killed" in line for line in said) == 1
    assert [path.name for path in home.root.parent.iterdir()] == ["mlruns"]
    assert len(home_rows(home)) == 4


def test_a_volume_is_filled_from_within(made_backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the home is a mount point it cannot be renamed into place; its databases come last."""
    home = Home(tmp_path / "volume")
    (home.root / "lost+found").mkdir(parents=True)
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == home.root)
    assert killed(lambda: restore(made_backup, home), 3) == -signal.SIGKILL
    restore(made_backup, home)
    assert len(home_rows(home)) == 4
    assert not [path.name for path in home.root.iterdir() if path.name.startswith(".restoring")]
    assert (home.root / "lost+found").exists()


def home_rows(home: Home) -> list[object]:
    """Read the cells of the small study."""
    with Ledger.local(home) as ledger:
        return list(ledger.rows("small"))


def test_the_newest_of_several_is_taken(small: SmallHome, tmp_path: Path) -> None:
    """A folder of backups stands for the newest; one without any is refused."""
    store = tmp_path / "b"
    first, second = (back_up(small.home, store).folder for _ in range(2))
    assert find_backup(store) == second
    assert find_backup(first) == first
    with pytest.raises(UsageError, match="is no backup and holds none"):
        find_backup(tmp_path)


def test_a_ledger_on_postgresql_goes_there_and_back(
    small: SmallHome, tmp_path: Path, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pg_dump and pg_restore carry it into an empty database; one that has tables is refused."""
    if shutil.which("pg_dump") is None:
        pytest.skip("no pg_dump on the PATH")
    url, new_url = make_database(postgresql), make_database(postgresql)
    with Ledger(url) as ledger:
        ledger.enroll(small.study)
        claim = ledger.leases.claim("small", "gone-1")
        assert claim is not None
        before = ledger.rows("small")
    monkeypatch.setenv("TRACKER_STORAGE", url)
    done = CliRunner().invoke(cli, ["backup", str(tmp_path / "b"), "--home", str(small.home.root)])
    assert done.exit_code == 0, (done.output, done.exception)
    backup = Path(done.stdout.strip())
    dumped = read_manifest(backup).database("trials")
    assert dumped is not None
    assert (dumped.kind, dumped.path, dumped.schema_version) == ("postgresql", "databases/trials.pgdump", "0002")
    (live,) = read_manifest(backup).live
    assert live.worker == "gone-1"

    new = Home(tmp_path / "new")
    with pytest.raises(UsageError, match="name an empty database"):
        restore(backup, new)
    with pytest.raises(UsageError, match="is not empty"):
        restore(backup, new, storage=url)
    assert not new.root.exists()
    assert restore(backup, new, storage=new_url).let_go == 2  # and the one of the local file
    with Ledger(new_url) as ledger:
        after = ledger.rows("small")
    assert [row.state for row in before] == ["RUNNING", "WAITING", "WAITING", "WAITING"]
    assert [row.state for row in after] == ["WAITING"] * 4
    assert after[1:] == before[1:]
    assert after[0].run_key == claim.run_key


def test_a_password_is_in_no_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pg_dump is told where to connect by its environment alone."""
    program = tmp_path / "bin" / "psql"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@" > "$0.arguments"\nenv > "$0.environment"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    ask_server("postgresql+psycopg://me:s%40cret@db.example:5433/trials?sslmode=require", "SELECT 1")
    assert "cret" not in Path(f"{program}.arguments").read_text()
    given = dict(line.partition("=")[::2] for line in Path(f"{program}.environment").read_text().splitlines())
    assert (given["PGPASSWORD"], given["PGHOST"], given["PGPORT"]) == ("s@cret", "db.example", "5433")
    assert (given["PGUSER"], given["PGDATABASE"], given["PGSSLMODE"]) == ("me", "trials", "require")
    shown = public_name("postgresql+psycopg://me:cret1@db/trials?password=cret2&sslmode=require")
    assert shown == "postgresql+psycopg://me:***@db/trials?sslmode=require"


def test_who_made_it_is_in_the_manifest(made_home: SmallHome, made_backup: Path) -> None:
    """Host, home and versions: what somebody needs who finds a backup years later."""
    manifest = read_manifest(made_backup)
    assert (manifest.host, manifest.home) == (socket.gethostname(), str(made_home.home.root))
    assert {"tracker", "python", "mlflow", "optuna"} <= set(manifest.versions)
