"""A restore: the home it makes, and the backups and places it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from click.testing import CliRunner

from tests.ledger.conftest import make_database, trials_of
from tests.operations.small_home import SmallHome, dump, files_of, killed
from tracker.cli.main import cli
from tracker.ledger.addresses import public_name
from tracker.ledger.ledger import Ledger, local_url
from tracker.operations.backing_up import back_up
from tracker.operations.databases import ask_server
from tracker.operations.manifest import MANIFEST, _checksum, read_manifest
from tracker.operations.restoring import restore
from tracker.operations.verifying import find_backup
from tracker.study.errors import TrackerError, UsageError
from tracker.study.home import Home
from tracker.tracking.reading import read_runs
from tracker.tracking.server.addresses import database_uri
from tracker.tracking.server.record import Record, hold, write_record


@pytest.fixture(scope="module")
def made_backup(made_home: SmallHome, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of the small home; nobody changes it."""
    return back_up(made_home.home, tmp_path_factory.mktemp("backups")).folder


@pytest.fixture
def backup(made_backup: Path, tmp_path: Path) -> Path:
    """A copy of that backup, to be damaged."""
    return Path(shutil.copytree(made_backup, tmp_path / "b" / made_backup.name))


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


def _flip(folder: Path) -> None:
    path = folder / "home" / "sources" / "abc.safetensors"
    path.write_bytes(b"A source")


def _cut(folder: Path) -> None:
    os.truncate(folder / "home" / "tracking.db", 100_000)


def _lose(folder: Path) -> None:
    (folder / "home" / "sources" / "abc.safetensors").unlink()


def _add(folder: Path) -> None:
    (folder / "home" / "sources" / "abc.safetensors.exe").write_bytes(b"")


def _link(folder: Path) -> None:
    path = folder / "home" / "sources" / "abc.safetensors"
    path.rename(folder.parent / "same-bytes")
    path.symlink_to(folder.parent / "same-bytes")


def _link_folder(folder: Path) -> None:
    path = folder / "home" / "sources"
    path.rename(folder.parent / "same-folder")
    path.symlink_to(folder.parent / "same-folder")


DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (_flip, "'home/sources/abc.safetensors' has another content"),
    (_cut, "'home/tracking.db' has 100,000 bytes"),
    (_lose, "'home/sources/abc.safetensors' is missing"),
    (_add, "'home/sources/abc.safetensors.exe' is not in the manifest"),
    (_link, "'home/sources/abc.safetensors' is a link"),
    (_link_folder, "'home/sources' is a link"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGES)
def test_a_damaged_backup_is_refused_by_name(
    backup: Path, tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    """A file that was changed, cut, lost, added or replaced by a link is named, and nothing is written."""
    damage(backup)
    for arguments in (["--verify"], ["--home", str(tmp_path / "new")]):
        done = CliRunner().invoke(cli, ["restore", str(backup), *arguments])
        assert done.exit_code == 1
        assert isinstance(done.exception, TrackerError)
        assert words in str(done.exception)
    assert not (tmp_path / "new").exists()


def forge(backup: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a manifest as somebody does who can also give it a checksum."""
    document = json.loads((backup / MANIFEST).read_text())
    del document["checksum"]
    change(document)
    (backup / MANIFEST).write_text(json.dumps({"checksum": _checksum(document), **document}))


HOSTILE_PATHS = [
    "home/../../evil",
    "home/work/../../../evil",
    "/etc/evil",
    "../evil",
    "evil",
    "home",
    "home//evil",
    "home/./evil",
    "home/a\\..\\evil",
    "home/a\0b",
    "home/server/server.json",
    "home/x.lock",
    "databases/evil",
    "home/sources/abc.safetensors",
    "home/sources/abc.safetensors/x",
]


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_a_path_that_leads_out_of_the_backup_is_refused(backup: Path, tmp_path: Path, path: str) -> None:
    """A manifest that was written by hand reaches no file outside, none twice, and none that no backup takes."""
    forge(backup, lambda manifest: manifest["files"].append({"path": path, "size": 0, "sha256": "0" * 64}))
    with pytest.raises(TrackerError, match=r"no path inside|listed twice|both a file and|nothing that|no database"):
        restore(backup, Home(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.rglob("evil"))


NEWER: list[tuple[Callable[[dict[str, Any]], None], str]] = [
    (lambda manifest: manifest.update(format=2), "format 2 is newer than this program's 1"),
    (lambda manifest: manifest["versions"].update(tracker="99.0"), "made by tracker 99.0, which is newer"),
    (lambda manifest: manifest["databases"][0].update(schema_version="9999"), "schema 9999 of the ledger is newer"),
    (
        lambda manifest: manifest["databases"][1].update(schema_version="f" * 12),
        "schema f+ of MLflow is newer",
    ),
    (lambda manifest: manifest["versions"].update(tracker="latest"), "'latest' is no version"),
    (lambda manifest: manifest.update(surprise=1), "surprise"),
    (lambda manifest: manifest["files"][0].update(size="12"), "size"),
]


@pytest.mark.parametrize(("change", "words"), NEWER)
def test_a_newer_or_foreign_manifest_is_refused(
    backup: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    """It says what is newer; a program must not guess at what it does not know."""
    forge(backup, change)
    with pytest.raises(TrackerError, match=words):
        restore(backup, Home(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"format": 1}'])
def test_a_manifest_that_is_none_is_refused(backup: Path, content: bytes) -> None:
    """Whatever the file holds, the message names it."""
    (backup / MANIFEST).write_bytes(content)
    with pytest.raises(TrackerError, match=r"manifest\.json: damaged"):
        read_manifest(backup)


def test_a_home_that_is_not_empty_is_left_alone(made_backup: Path, tmp_path: Path) -> None:
    """The message names what is there; --force puts it aside, and loses none of it."""
    home = Home(tmp_path / "mlruns")
    (home.root / "artifacts").mkdir(parents=True)
    (home.root / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"not empty: artifacts, thesis\.tex"):
        restore(made_backup, home)
    assert sorted(path.name for path in home.root.iterdir()) == ["artifacts", "thesis.tex"]
    done = restore(made_backup, home, force=True)
    assert done.put_aside is not None
    assert (done.put_aside / "thesis.tex").read_text() == "mine"
    assert home.trials_db.exists()
    assert not (home.root / "thesis.tex").exists()


def test_a_home_in_use_is_refused(made_backup: Path, tmp_path: Path) -> None:
    """Not even --force takes the files from under a server that runs."""
    home = Home(tmp_path / "mlruns")
    own = psutil.Process()
    write_record(home, Record(own.pid, own.create_time(), 1, "3", True))
    with pytest.raises(UsageError, match=r"server of .* runs"):
        restore(made_backup, home, force=True)


def test_a_home_of_a_server_in_another_container_is_refused(made_backup: Path, tmp_path: Path) -> None:
    """Its pid means nothing here, the kernel's lock on the shared folder does; and nothing once it has ended."""
    home = Home(tmp_path / "mlruns")
    descriptor = hold(home, None)
    assert descriptor is not None
    (home.root / "in the way").write_text("")
    with pytest.raises(UsageError, match="in another container"):
        restore(made_backup, home, force=True)
    os.close(descriptor)
    restore(made_backup, home, force=True)


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
