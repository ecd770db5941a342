"""A whole sweep killed, and two sweeps at once: with the command that people type."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import optuna
import psutil
import pytest

from tests.sweep.conftest import ask_tracker, environment, run_tracker
from tracker.ledger.ledger import Ledger
from tracker.ledger.rows import CellRow
from tracker.study.home import Home
from tracker.tracking.ending import open_runs, runs_by_key
from tracker.tracking.server.addresses import database_uri

pytestmark = pytest.mark.soak  # together three minutes of two cores

STUDY = """
question: What if everything is killed?
datasets: {low: {kind: digits, classes: [0, 1, 2], image_size: 16}}
recipe:
  {model: mobilenet_v3_small, dataset: low, source: random, epochs: EPOCHS, batch_size: 16, limit_train: 48,
   limit_test: 30, flip: false}
axes: {normalization: [minmax, instance], seed: [1, 2]}
baseline: minmax
"""


def start_sweep(home: Path, study: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start `tracker sweep` as a process of its own; its output goes to `log` beside the home."""
    with (home.parent / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tracker", "sweep", "--study", str(study), *arguments],
            stdout=log, stderr=log, cwd=home.parent, env=environment(home),
        )  # fmt: skip


def rows(home: Path) -> list[CellRow]:
    """Read the study's rows."""
    with Ledger.local(Home(home)) as ledger:
        return ledger.rows("all")


def wait_for(condition: Callable[[], object], log: Path) -> None:
    """Wait until something holds; else fail with the log."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


@pytest.mark.soak  # a minute of two cores
def test_after_a_power_cut_status_finds_and_mends_everything(tmp_path: Path) -> None:
    """Sweep, workers and MLflow server die at once; `doctor` lists what disagrees, `status` mends it."""
    home, study = tmp_path / "mlruns", tmp_path / "all.yaml"
    study.write_text(STUDY.replace("EPOCHS", "400"))
    sweep = start_sweep(home, study, "--workers", "2", "--lease", "3")
    states = home / "work"
    try:
        wait_for(lambda: len({path.parent for path in states.glob("*/state-*")}) >= 2, tmp_path / "log")
    finally:
        family = [psutil.Process(sweep.pid), *psutil.Process(sweep.pid).children(recursive=True)]
        for process in family:
            process.kill()
        sweep.wait()
    psutil.wait_procs(family, timeout=20)
    time.sleep(3.1)  # the leases

    uri = database_uri(Home(home))
    assert len(open_runs(uri, "all")) == 3  # two cells and the study's own
    listed = ask_tracker(home, "doctor", "--study", str(study), "--device", "cpu").stdout
    assert listed.count("its worker") == 2
    assert listed.count("was RUNNING without a worker") == 3
    assert {row.state for row in rows(home)} == {"RUNNING", "WAITING"}, "doctor only looks"

    mended = ask_tracker(home, "status", "--study", "all").stderr
    assert mended.count("mended:") >= 4
    assert open_runs(uri, "all") == []
    assert {row.state for row in rows(home)} == {"WAITING"}
    loaded = optuna.load_study(study_name="all", storage=f"sqlite:///{home / 'trials.db'}")
    assert {trial.state.name for trial in loaded.trials} == {"WAITING"}
    again = ask_tracker(home, "doctor", "--study", str(study), "--device", "cpu").stdout
    assert "table, Optuna, MLflow and disk agree" in again

    ask_tracker(home, "cancel", "--study", "all", "--all")
    ended = run_tracker(home, "sweep", "--study", str(study))
    assert "0 done, 4 cancelled, 0 to do" in ended.stderr


@pytest.mark.soak  # a minute of two cores
def test_two_sweeps_at_once_share_the_work(tmp_path: Path) -> None:
    """Each cell is run once, by one of them; both end well and the study's run is FINISHED."""
    home, study = tmp_path / "mlruns", tmp_path / "all.yaml"
    study.write_text(STUDY.replace("EPOCHS", "12"))
    sweeps = [start_sweep(home, study, "--workers", "1") for _ in range(2)]
    assert [sweep.wait(240) for sweep in sweeps] == [0, 0], (tmp_path / "log").read_text()
    done = rows(home)
    assert [(row.state, row.attempts) for row in done] == [("COMPLETE", 1)] * 4
    runs = [run for run in runs_by_key(database_uri(Home(home)), "all").values() if run.cell_id]
    assert Counter(run.cell_id for run in runs) == {row.cell_id: 1 for row in done}
    assert {run.status for run in runs} == {"FINISHED"}
    assert open_runs(database_uri(Home(home)), "all") == []
    assert not list((home / "work").iterdir())


SLOW_STEP = """
import time
from tracker.sweep.workers.process import stop_on_terminate
stop = stop_on_terminate()
print("ready", flush=True)
while not stop.is_set():
    time.sleep(0.01)
print("stopping", flush=True)
time.sleep(60)
"""


def test_the_second_signal_ends_a_worker_at_once() -> None:
    """The first asks, and may take a step's time to be heard; the second does not wait for it."""
    command = [sys.executable, "-c", SLOW_STEP]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 1
