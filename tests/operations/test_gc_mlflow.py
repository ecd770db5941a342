"""What `tracker gc` makes of runs, experiments and their files in MLflow."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing

from mlflow import MlflowClient

from tests.operations.garbage import HOUR, add, found, names
from tests.operations.small_home import SmallHome, dump
from tracker.ledger.ledger import Ledger
from tracker.operations.collecting import collect, remove
from tracker.study.home import Home
from tracker.tracking.ending import runs_by_key


def test_files_of_no_run_go_unless_the_database_was_lost(small: SmallHome) -> None:
    """Only folders named as MLflow names them, and none where it knows no run at all."""
    lost = "artifacts/1/0123456789abcdef0123456789abcdef"
    add(small.home, f"{lost}/artifacts/checkpoint/best.safetensors")
    add(small.home, f"artifacts/1/models/m-{'0' * 32}/artifacts/model.pt2")
    add(small.home, "artifacts/1/somebody's notes/thesis.tex")
    add(small.home, "artifacts/thesis.tex")
    group = found(small.home)["files of no run"]
    assert names(group) == [lost, f"artifacts/1/models/m-{'0' * 32}"]
    with closing(sqlite3.connect(small.home.tracking_db)) as database, database:
        database.execute("DELETE FROM runs")
    assert "files of no run" not in found(small.home)


def test_what_was_deleted_in_mlflow_goes_with_its_files(small: SmallHome) -> None:
    """After --older-than and not before; rows and files; the other runs are as they were."""
    client = MlflowClient(small.uri)
    run = runs_by_key(small.uri, "small")[str(small.rows()[0].run_key)]
    client.delete_run(run.run_id)
    assert "deleted in MLflow" not in found(small.home)
    _deleted_at(small.home, run.run_id, time.time() - 2 * HOUR)
    group = found(small.home)["deleted in MLflow"]
    assert names(group) == [f"run {run.name} ({run.run_id})"]
    assert group.bytes == 5001
    others = [line for line in dump(small.home.tracking_db) if run.run_id not in line]
    garbage = collect(small.home, older_than=HOUR)
    assert remove(small.home, garbage).failed == []
    assert not (small.home.artifacts / "1" / run.run_id).exists()
    assert [line for line in dump(small.home.tracking_db) if run.run_id not in line] == others
    assert run.run_id not in "".join(dump(small.home.tracking_db))


def test_a_run_taken_out_of_the_trash_meanwhile_stays(small: SmallHome) -> None:
    """It is looked at again when its turn comes."""
    client = MlflowClient(small.uri)
    run = runs_by_key(small.uri, "small")[str(small.rows()[0].run_key)]
    client.delete_run(run.run_id)
    _deleted_at(small.home, run.run_id, time.time() - 2 * HOUR)
    garbage = collect(small.home, older_than=HOUR)
    client.restore_run(run.run_id)
    assert f"run {run.name} ({run.run_id})" in remove(small.home, garbage).spared
    assert (small.home.artifacts / "1" / run.run_id / "artifacts" / "checkpoint").exists()


def test_a_run_that_a_worker_has_stays(small: SmallHome) -> None:
    """Deleted in MLflow or not: the worker's next call takes it out of the trash."""
    with Ledger.local(small.home) as ledger:
        claim = ledger.leases.claim("small", "alive-1")
        assert claim is not None
        run = MlflowClient(small.uri).create_run("1", tags={"tracker.attempt": claim.run_key})
    MlflowClient(small.uri).delete_run(run.info.run_id)
    _deleted_at(small.home, run.info.run_id, time.time() - 2 * HOUR)
    assert "deleted in MLflow" not in found(small.home)


def test_a_deleted_experiment_goes_after_its_runs(small: SmallHome) -> None:
    """Then its name is free again."""
    client = MlflowClient(small.uri)
    with Ledger.local(small.home) as ledger:
        ledger.cancel("small")
    shutil.rmtree(small.home.journal)  # nothing is on its way any more
    client.delete_experiment("1")
    with closing(sqlite3.connect(small.home.tracking_db)) as database, database:
        moment = int((time.time() - 2 * HOUR) * 1000)
        database.execute("UPDATE runs SET deleted_time = ?", (moment,))
        database.execute("UPDATE experiments SET last_update_time = ? WHERE experiment_id = 1", (moment,))
    garbage = collect(small.home, older_than=HOUR)
    assert remove(small.home, garbage).failed == []
    assert "small" not in [each.name for each in client.search_experiments(view_type=3)]
    client.create_experiment("small")


def _deleted_at(home: Home, run_id: str, moment: float) -> None:
    with closing(sqlite3.connect(home.tracking_db)) as database, database:
        database.execute("UPDATE runs SET deleted_time = ? WHERE run_uuid = ?", (int(moment * 1000), run_id))


def test_checkpoints_go_only_when_asked_and_never_the_best(small: SmallHome) -> None:
    """Of two seeds of one configuration the better keeps its own."""
    worse, better = small.rows()[:2]
    assert "checkpoints" not in found(small.home)
    group = found(small.home, checkpoints=True)["checkpoints"]
    assert names(group) == [f"artifacts/1/{worse.run_id}/artifacts/checkpoint/best.safetensors"]
    remove(small.home, collect(small.home, checkpoints=True))
    assert (small.home.artifacts / "1" / str(better.run_id) / "artifacts/checkpoint/best.safetensors").exists()
    assert (small.home.artifacts / "1" / str(worse.run_id) / "artifacts/notes/traceback.txt").exists()
    assert "checkpoints" not in found(small.home, checkpoints=True)
