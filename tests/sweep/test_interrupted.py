"""Sweeps with a cell that fails, a worker that is killed, a person who stops them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import psutil
import pytest

from tests.sweep.conftest import IN_FOREGROUND, artifact, ask_tracker, environment, ledger_rows, run_tracker, runs_of


@pytest.mark.soak
def test_a_failing_cell_does_not_stop_the_others(tmp_path: Path) -> None:
    """One cell's loss is not finite: it is FAILED with its reason and traceback, the other completes, exit code 1."""
    home = tmp_path / "mlruns"
    study = tmp_path / "wild.yaml"
    study.write_text(
        """
question: What if one cell cannot be trained?
datasets: {low: {kind: digits, classes: [0, 1, 2], image_size: 16}}
recipe:
  {model: mobilenet_v3_small, dataset: low, source: random, normalization: minmax, epochs: 8, batch_size: 16,
   optimizer: sgd, schedule: constant, limit_train: 64, limit_test: 30, seed: 1}
axes: {lr: [100.0, 0.01]}
baseline: minmax
"""
    )
    done = run_tracker(home, "sweep", "--study", str(study), code=1)
    assert re.search(r"FAILED \(not-finite, NotFinite\): \w+_loss is", done.stderr)
    assert "1 cells failed" in done.stderr
    assert "tracker retry --study wild --failed" in done.stderr
    assert "failed" in done.stdout
    rows = {row.state: row for row in ledger_rows(home, "wild")}
    assert set(rows) == {"FAIL", "COMPLETE"}
    assert rows["FAIL"].failure_kind == "NotFinite"
    by_status = {run.status: run for run in runs_of(home, "wild")}
    assert set(by_status) == {"FAILED", "FINISHED"}
    assert "NotFinite" in artifact(home, by_status["FAILED"], "traceback.txt").read_text()
    shown = ask_tracker(home, "compare", "--format", "json")
    assert "failed" in shown.stdout
    again = ask_tracker(home, "sweep", "--study", str(study), "--dry-run")
    assert "1 done, 1 failed, 0 to do" in again.stdout
    ask_tracker(home, "retry", "--study", "wild", "--failed")
    assert "1 done, 1 to do" in ask_tracker(home, "sweep", "--study", str(study), "--dry-run").stdout


LONG_STUDY = """
question: What if it is interrupted?
datasets: {low: {kind: digits, classes: [0, 1, 2], image_size: 16}}
recipe:
  {model: mobilenet_v3_small, dataset: low, source: random, normalization: minmax, epochs: 2000, batch_size: 32,
   limit_train: 64, limit_test: 30}
axes: {seed: [1]}
baseline: minmax
"""


@pytest.fixture
def long_sweep(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str], Path]]:
    """A sweep of a cell that takes minutes and is being trained: its home, process and log."""
    home, log_path = tmp_path / "mlruns", tmp_path / "log"
    study = tmp_path / "long.yaml"
    study.write_text(LONG_STUDY)
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", IN_FOREGROUND, "sweep", "--study", str(study)],
            stdout=log,
            stderr=log,
            text=True,
            cwd=tmp_path,
            env=environment(home),
        )
    try:
        wait_for(lambda: "epoch" in log_path.read_text(), process, log_path)
        yield home, process, log_path
    finally:
        family = [process_of for process_of in [*descendants(process.pid)] if process_of.is_running()]
        process.terminate()
        process.wait(60)
        for member in psutil.wait_procs(family, timeout=20)[1]:
            member.kill()


def descendants(pid: int) -> list[psutil.Process]:
    """Return a process's children and theirs; none where it has ended."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str], log: Path) -> None:
    """Wait until something holds while the sweep runs; else fail with its log."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


@pytest.mark.soak
def test_a_worker_killed_and_a_sweep_stopped_lose_nothing(
    long_sweep: tuple[Path, subprocess.Popen[str], Path],
) -> None:
    """kill -9 of a worker: another takes its place and the cell. Ctrl-C: the cell waits again, no process is left."""
    home, process, log = long_sweep
    (first,) = [row for row in ledger_rows(home, "long") if row.state == "RUNNING"]
    (worker,) = [child for child in descendants(process.pid) if child.ppid() != process.pid and is_worker(child)]
    worker.send_signal(signal.SIGKILL)

    def resumed() -> bool:
        return "goes on after epoch" in log.read_text()

    wait_for(resumed, process, log)
    (again,) = [row for row in ledger_rows(home, "long") if row.state == "RUNNING"]
    assert (again.cell_id, again.attempts, again.token) == (first.cell_id, 2, first.token + 1)
    assert again.worker != first.worker
    assert "died (killed by signal 9)" in log.read_text()

    children = descendants(process.pid)
    assert children
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 1
    assert "the same command goes on where the cells stand" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert {row.state for row in ledger_rows(home, "long")} == {"WAITING"}
    assert [run.status for run in runs_of(home, "long")] == ["KILLED"]
    assert not psutil.wait_procs(children, timeout=20)[1]
    study = optuna.load_study(study_name="long", storage=f"sqlite:///{home / 'trials.db'}")
    assert "RUNNING" not in {trial.state.name for trial in study.trials}


def is_worker(process: psutil.Process) -> bool:
    """Say whether a process was forked from the one that workers are forked from."""
    return "forkserver" in " ".join(process.cmdline())
