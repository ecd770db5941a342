"""Backups of a home that several workers write to, restored, and gone on from: with the command that people type."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.ledger.conftest import make_database
from tests.operations.small_home import dump, files_of
from tests.sweep.conftest import ask_tracker, environment, run_tracker
from tracker.ledger.ledger import Ledger
from tracker.operations.backing_up import back_up
from tracker.operations.verifying import backups_in, verify
from tracker.study.home import Home
from tracker.tracking.ending import runs_by_key
from tracker.tracking.server.addresses import database_uri
from tracker.tracking.server.lifecycle import stop

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]  # minutes of two cores

STUDY = """
question: Does a backup hold what a sweep is doing?
datasets: {low: {kind: digits, classes: [0, 1, 2], image_size: 16}}
recipe:
  {model: mobilenet_v3_small, dataset: low, source: random, epochs: 12, batch_size: 16, limit_train: 48,
   limit_test: 30, flip: false}
axes: {normalization: [minmax, instance], seed: [1, 2]}
baseline: minmax
"""


def histories(home: Home, study: str) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Return every metric's points by cell, times left out; a step trained twice counts once."""
    client = MlflowClient(database_uri(home))
    return {
        run.cell_id: {
            metric: sorted({(point.step, point.value) for point in client.get_metric_history(run.run_id, metric)})
            for metric in run.metrics
            if metric not in ("epoch_seconds", "images_per_second") and not metric.startswith("system/")
        }
        for run in runs_by_key(database_uri(home), study).values()
        if run.cell_id
    }


def test_backups_under_a_sweep_restore_to_homes_that_go_on(tmp_path: Path) -> None:
    """Each is whole; `doctor` finds in it only what `status` mends; gone on, it ends with the same bits."""
    home, study, store = Home(tmp_path / "mlruns"), tmp_path / "all.yaml", tmp_path / "b"
    study.write_text(STUDY)
    with (tmp_path / "log").open("ab") as log:
        sweep = subprocess.Popen(
            [sys.executable, "-m", "tracker", "sweep", "--study", str(study), "--workers", "3"],
            stdout=log, stderr=log, cwd=tmp_path, env=environment(home.root),
        )  # fmt: skip
    made = []
    try:
        while sweep.poll() is None:
            if home.trials_db.exists() and len(list(home.work.glob("*/state-*"))) > 0:
                made.append(back_up(home, store))
            time.sleep(0.5)
    finally:
        sweep.kill()
    assert sweep.wait() == 0, (tmp_path / "log").read_text()
    assert len(made) >= 3
    assert any(backup.manifest.live for backup in made)
    final = histories(home, "all")
    assert len(final) == 4

    picked = {0, len(made) // 2, len(made) - 1}
    for number in sorted(picked):
        new = tmp_path / f"new-{number}" / "mlruns"
        new.parent.mkdir()
        run_tracker(new, "restore", str(made[number].folder))
        with Ledger.local(Home(new)) as ledger:
            rows = ledger.rows("all")
        assert "RUNNING" not in {row.state for row in rows}
        for row in rows:
            if row.state == "COMPLETE":
                run = runs_by_key(database_uri(Home(new)), "all")[str(row.run_key)]
                stored = Home(new).artifacts / run.artifact_uri.removeprefix("mlflow-artifacts:/")
                assert (stored / "checkpoint" / "best.safetensors").exists()
        ask_tracker(new, "status", "--study", "all")
        agreed = run_tracker(new, "doctor", "--study", str(study), "--device", "cpu").stdout
        assert "table, Optuna, MLflow and disk agree" in agreed
        run_tracker(new, "sweep", "--study", str(study), "--workers", "2")
        assert histories(Home(new), "all") == final
        run_tracker(new, "compare", "--study", "all")


def test_a_finished_home_comes_back_to_the_last_row(swept: tuple[Path, Path, object], tmp_path: Path) -> None:
    """A real sweep's databases and files, by the command, with its server running: nothing differs."""
    home = Home(swept[0])
    try:
        run_tracker(home.root, "server", "start")
        done = run_tracker(home.root, "backup", str(tmp_path / "b"), "--with-data")
        new = tmp_path / "new" / "mlruns"
        new.parent.mkdir()
        run_tracker(new, "restore", done.stdout.strip())
    finally:
        stop(home)
    assert dump(Home(new).tracking_db) == dump(home.tracking_db)
    assert dump(Home(new).trials_db) == dump(home.trials_db)
    folders = ("artifacts", "sources", "data")
    assert files_of(Home(new), *folders) == {
        name: each for name, each in files_of(home, *folders).items() if not name.endswith(".lock")
    }


def test_mlflow_on_postgresql_goes_there_and_back(
    postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both databases on a server: every run, metric and tag is in the new ones."""
    if shutil.which("pg_dump") is None:
        pytest.skip("no pg_dump on the PATH")
    old, new = make_database(postgresql), make_database(postgresql)
    client = MlflowClient(old)
    place = (tmp_path / "mlruns" / "artifacts" / "1").as_uri()
    experiment = client.create_experiment("of a test", artifact_location=place)
    for number in range(20):
        run = client.create_run(experiment, tags={"number": str(number)})
        for step in range(5):
            client.log_metric(run.info.run_id, "test_acc", number + step / 10, step=step)
        client.set_terminated(run.info.run_id)
    home = Home(tmp_path / "mlruns")
    (home.artifacts / "1").mkdir(parents=True)
    (home.artifacts / "1" / "file.bin").write_bytes(b"x")
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", old)
    made = back_up(home, tmp_path / "b")
    assert [(database.role, database.kind) for database in made.manifest.databases] == [("tracking", "postgresql")]
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", new)
    from tracker.operations.restoring import restore

    done = restore(made.folder, Home(tmp_path / "elsewhere"))
    assert done.moved == 21
    before = sorted(client.search_runs([experiment]), key=lambda run: run.info.run_id)
    after = sorted(MlflowClient(new).search_runs([experiment]), key=lambda run: run.info.run_id)
    assert len(before) == 20
    assert [run.data.to_dictionary() for run in after] == [run.data.to_dictionary() for run in before]
    wanted = (tmp_path / "elsewhere" / "artifacts" / "1").as_uri()
    assert {run.info.artifact_uri.rsplit("/", 2)[0] for run in after} == {wanted}
    for run in before[:3]:
        points = [
            (point.step, point.value) for point in MlflowClient(new).get_metric_history(run.info.run_id, "test_acc")
        ]
        assert len(points) == 5


def test_backups_killed_at_any_moment_are_none(swept: tuple[Path, Path, object], tmp_path: Path) -> None:
    """SIGKILL after a time that grows: there is a whole backup or none."""
    home, store = Home(swept[0]), tmp_path / "b"
    whole = 0
    for tenths in range(5, 60, 3):
        process = subprocess.Popen(
            [sys.executable, "-m", "tracker", "backup", str(store)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path, env=environment(home.root),
        )  # fmt: skip
        try:
            process.wait(tenths / 10)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        else:
            whole += 1
        for folder, _ in backups_in(store):
            verify(folder)
    back_up(home, store)
    assert not [path for path in store.iterdir() if path.name.startswith(".")]
    assert whole < 19


def test_gc_beside_a_sweep_takes_nothing_from_it(tmp_path: Path) -> None:
    """Deleting all the while, the sweep ends as ever."""
    home, study = Home(tmp_path / "mlruns"), tmp_path / "all.yaml"
    study.write_text(STUDY)
    with (tmp_path / "log").open("ab") as log:
        sweep = subprocess.Popen(
            [sys.executable, "-m", "tracker", "sweep", "--study", str(study), "--workers", "2"],
            stdout=log, stderr=log, cwd=tmp_path, env=environment(home.root),
        )  # fmt: skip
    rounds = 0
    while sweep.poll() is None:
        if home.trials_db.exists() and home.tracking_db.exists() and list(home.work.glob("*/state-*")):
            ask_tracker(home.root, "gc", "--delete", "--checkpoints", "--data", "--older-than", "1h")
            rounds += 1
        time.sleep(0.5)
    assert sweep.wait() == 0, (tmp_path / "log").read_text()
    assert rounds >= 3
    assert len(histories(home, "all")) == 4
