"""A backup: what it takes, what it shares with the one before, and what is left when it fails."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.operations.small_home import SmallHome, dump, files_of, in_child, killed
from tracker.cli.main import cli
from tracker.operations import contents
from tracker.operations.backing_up import alone, back_up
from tracker.operations.contents import open_journal, open_states
from tracker.operations.manifest import MANIFEST, read_manifest
from tracker.operations.verifying import backups_in, verify
from tracker.study.errors import DiskFull, TrackerError, UsageError
from tracker.study.home import Home
from tracker.tracking.journal import FILES, SUFFIX
from tracker.tracking.server.record import Record, write_record

TAKEN = ("artifacts", "journal", "sources", "work")


def test_a_backup_has_everything_but_what_can_be_had_again(small: SmallHome, tmp_path: Path) -> None:
    """Databases whole, files byte by byte; no cache, dataset, weight, lock, log or half-written file."""
    made = CliRunner().invoke(cli, ["backup", str(tmp_path / "b"), "--home", str(small.home.root)])
    assert made.exit_code == 0, made.output
    folder = Path(made.stdout.strip())
    copy = Home(folder / "home")
    assert dump(copy.tracking_db) == dump(small.home.tracking_db)
    assert dump(copy.trials_db) == dump(small.home.trials_db)
    wanted = {
        name: content for name, content in files_of(small.home, *TAKEN).items() if not name.endswith((".users", ".tmp"))
    }
    assert len(wanted) == 9
    assert files_of(copy, *TAKEN) == wanted
    tops = {path.name for path in copy.root.iterdir()}
    assert tops == {*TAKEN, "tracking.db", "trials.db", "basic_auth.db", "trials.db.0001.backup"}
    assert (copy.root / "basic_auth.db").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700

    manifest = verify(folder)
    assert [database.role for database in manifest.databases] == ["trials", "tracking", "auth"]
    assert [database.schema_version is not None for database in manifest.databases] == [True, True, False]
    (live,) = manifest.live
    assert (live.name, live.worker, live.last_epoch) == ("squeezenet1_1/low/instance/seed=1", "gone-1", 0)
    assert "1 cell at work" in made.stderr


def test_datasets_and_weights_are_taken_when_asked_for(small: SmallHome, tmp_path: Path) -> None:
    """--with-data takes them; what is made again by itself is not taken even then."""
    made = back_up(small.home, tmp_path / "b", with_data=True)
    copy = Home(made.folder / "home")
    assert files_of(copy, "data", "weights") == files_of(small.home, "data", "weights")
    assert not copy.cache.exists()


def test_an_unchanged_file_takes_no_space_again(small: SmallHome, tmp_path: Path) -> None:
    """It is one file in both backups, never the live one; one that changed, or rotted in the backup, is copied."""
    first = back_up(small.home, tmp_path / "b").folder / "home"
    changed, rotten, same = sorted((small.home.root / "artifacts").rglob("*.*"))[:3]
    place = [path.relative_to(small.home.root) for path in (changed, rotten, same)]
    changed.write_bytes(b"another content")
    times = (first / place[1]).stat()
    (first / place[1]).write_bytes(bytes(times.st_size))
    os.utime(first / place[1], ns=(times.st_atime_ns, times.st_mtime_ns))
    made = back_up(small.home, tmp_path / "b")
    second = made.folder / "home"
    assert (second / place[0]).read_bytes() == b"another content"
    assert (second / place[1]).read_bytes() == rotten.read_bytes()
    assert (second / place[2]).samefile(first / place[2])
    assert not (second / place[2]).samefile(same)
    assert made.linked >= 3


def test_keep_removes_older_backups_of_this_home_alone(small: SmallHome, tmp_path: Path) -> None:
    """Other folders, damaged backups, and those of another home stay."""
    store = tmp_path / "b"
    other = Home(tmp_path / "other")
    shutil.copytree(small.home.root, other.root)
    foreign = back_up(other, store).folder
    (store / "tracker-20200101-000000").mkdir()  # named like one
    (store / "tracker-20200101-000000" / "thesis.tex").write_text("mine")
    old = back_up(small.home, store).folder
    made = back_up(small.home, store, keep=1)
    assert made.removed == (old,)
    left = {path.name for path in store.iterdir()}
    assert left == {foreign.name, "tracker-20200101-000000", made.folder.name}
    assert len(backups_in(store)) == 2


def test_a_killed_backup_is_none(small: SmallHome, tmp_path: Path) -> None:
    """Wherever it is killed, nothing looks like a backup; the next one works and removes what was left."""
    store = tmp_path / "b"
    for nth in (1, 5, None):
        assert killed(lambda: back_up(small.home, store), nth) == -signal.SIGKILL
    assert backups_in(store) == []
    assert [path.name.split("-")[0] for path in store.iterdir()] == [".part"]  # each removed the one before
    said: list[str] = []
    made = back_up(small.home, store, say=said.append)
    assert sum("killed" in line for line in said) == 1
    assert list(store.iterdir()) == [made.folder]
    verify(made.folder)


def test_a_disk_that_fills_up_leaves_nothing(small: SmallHome, tmp_path: Path) -> None:
    """The error says so, and neither a half backup nor a temporary folder stays."""
    big = small.home.sources / "big.safetensors"
    big.write_bytes(bytes(4_000_000))  # larger than any database here

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
        with pytest.raises(DiskFull, match="no room for the backup; nothing of it was kept"):
            back_up(small.home, tmp_path / "b")

    assert in_child(fill) == 0
    assert list((tmp_path / "b").iterdir()) == []


def test_a_disk_without_room_is_found_before_anything_is_written(
    small: SmallHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has to be copied is added up first."""
    monkeypatch.setattr("tracker.operations.backing_up.free_bytes", lambda _: 1_000_000)
    with pytest.raises(DiskFull, match="MB to copy, 1 MB free"):
        back_up(small.home, tmp_path / "b")
    assert list((tmp_path / "b").iterdir()) == []


def test_mlflow_elsewhere_is_no_silent_gap(small: SmallHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose database is not here is an error, or is written down as left out."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@mlflow:5000")
    with pytest.raises(TrackerError, match="MLflow is at http://mlflow:5000") as refused:
        back_up(small.home, tmp_path / "b")
    assert "--without-tracking" in str(refused.value)
    made = back_up(small.home, tmp_path / "b", without_tracking=True)
    assert made.manifest.left_out == ["MLflow at http://mlflow:5000: runs, metrics and files"]


def test_files_in_a_bucket_are_no_silent_gap(small: SmallHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that keeps files elsewhere is an error, or is written down as left out."""
    monkeypatch.setenv("MLFLOW_ARTIFACTS_DESTINATION", "s3://bucket/runs")
    with pytest.raises(TrackerError, match="s3://bucket/runs") as refused:
        back_up(small.home, tmp_path / "b")
    assert "--without-artifacts" in str(refused.value)
    made = back_up(small.home, tmp_path / "b", without_artifacts=True)
    assert "s3://bucket/runs" in made.manifest.left_out[0]


def test_a_link_in_the_home_is_named(small: SmallHome, tmp_path: Path) -> None:
    """Where it leads is nobody's we know, so it is not followed, and the manifest says so."""
    (small.home.artifacts / "elsewhere").symlink_to(tmp_path)
    made = back_up(small.home, tmp_path / "b")
    assert made.manifest.left_out == [f"{small.home.artifacts / 'elsewhere'}: a link or no plain file"]


def test_a_damaged_database_is_not_backed_up_as_if_it_were_whole(small: SmallHome, tmp_path: Path) -> None:
    """SQLite's own check of the copy decides."""
    with open(small.home.trials_db, "r+b") as file:
        file.seek(8192)
        file.write(os.urandom(20_000))
    with pytest.raises(TrackerError, match=r"trials\.db"):
        back_up(small.home, tmp_path / "b")
    assert list((tmp_path / "b").iterdir()) == []


def test_one_backup_at_a_time(small: SmallHome, tmp_path: Path) -> None:
    """A second one, and `tracker gc`, are refused while one runs."""
    with alone(small.home), pytest.raises(TrackerError, match="runs already"):
        back_up(small.home, tmp_path / "b")


def test_an_empty_place_is_refused(tmp_path: Path) -> None:
    """There is nothing to back up, which is more likely a wrong --home than a wish."""
    with pytest.raises(UsageError, match="nothing to back up"):
        back_up(Home(tmp_path / "mlruns"), tmp_path / "b")
    (tmp_path / "mlruns").mkdir()
    with pytest.raises(UsageError, match="nothing has been run"):
        back_up(Home(tmp_path / "mlruns"), tmp_path / "b")


def test_a_training_state_is_taken_as_of_one_moment(tmp_path: Path) -> None:
    """While it is replaced by a newer one, the files opened belong together and can be read to their end."""
    folder = tmp_path / "work"
    folder.mkdir()
    for name in ("state-1", "best-1"):
        (folder / name).write_bytes(name.encode())
    with ExitStack() as stack:
        opened = open_states(folder, stack)
        for name in ("state-2", "best-2"):
            (folder / name).write_bytes(name.encode())
        for name in ("state-1", "best-1"):
            (folder / name).unlink()
        assert {each.path.name: each.file.read() for each in opened} == {"state-1": b"state-1", "best-1": b"best-1"}
    with ExitStack() as stack:
        assert [each.path.name for each in open_states(folder, stack)] == ["best-2", "state-2"]


def test_a_state_that_never_stands_still_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than files that do not belong together."""
    (tmp_path / "state-1").write_bytes(b"")
    real = Path.is_file

    def busy(path: Path) -> bool:
        if path.name == "state-1":  # once each time that it is tried
            (tmp_path / f"state-{os.urandom(4).hex()}").write_bytes(b"")
        return real(path)

    monkeypatch.setattr(contents.Path, "is_file", busy)
    with ExitStack() as stack:
        assert open_states(tmp_path, stack) == []


def test_a_journal_that_grows_or_goes(small: SmallHome) -> None:
    """It is read as far as it was when its files were opened; one that was delivered and removed is not there."""
    (path,) = small.home.journal.glob(f"*{SUFFIX}")
    whole = path.read_bytes()
    with ExitStack() as stack:
        journal, kept = open_journal(path, stack)
        with open(path, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(b"another line that names a file not opened\n")
        path.unlink()
        shutil.rmtree(path.with_suffix(FILES))
        assert journal.size == len(whole)
        assert kept.file.read() == b"kept until it is sent"
    assert open_journal(path, ExitStack()) == []


def test_the_manifest_vouches_for_itself(small: SmallHome, tmp_path: Path) -> None:
    """A flipped digit anywhere in it is found."""
    folder = back_up(small.home, tmp_path / "b").folder
    document = json.loads((folder / MANIFEST).read_text())
    assert read_manifest(folder).home == document["home"] == str(small.home.root)
    document["home"] += "x"
    (folder / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(TrackerError, match="checksum"):
        read_manifest(folder)


def test_a_server_that_keeps_its_runs_in_a_database_is_no_silent_gap(small: SmallHome, tmp_path: Path) -> None:
    """What the home's server was given is remembered, and the file of earlier days does not stand for it."""
    record = Record(1, 0.0, 5000, "3", True, storage="postgresql://db/mlflow")
    write_record(small.home, record)
    with pytest.raises(TrackerError, match="MLflow is at postgresql://db/mlflow"):
        back_up(small.home, tmp_path / "b")


def test_runs_without_a_file_here_are_named(small: SmallHome, tmp_path: Path) -> None:
    """The server may have been told to keep them elsewhere, which nobody can see from here."""
    shutil.rmtree(small.home.artifacts)
    made = back_up(small.home, tmp_path / "b")
    assert "MLFLOW_ARTIFACTS_DESTINATION" in made.manifest.left_out[0]
