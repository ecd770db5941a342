"""MLflow away in the middle of a trial, and for the whole of one: training goes on, and everything arrives."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import psutil
import pytest

from tests.sweep.crew_of_one import run_worker, start_worker
from tests.sweep.trials import SETTINGS, Bench, small_study
from tracker.ledger.ledger import Ledger
from tracker.study.home import Home
from tracker.study.study import Study
from tracker.sweep.events import EpochDone, Event, MlflowAway
from tracker.sweep.reconcile import reconcile
from tracker.sweep.workers.process import work
from tracker.tracking.server import lifecycle


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kill_server(home: Home) -> None:
    """SIGKILL the server and its workers."""
    pid = lifecycle.status(home).pid
    assert pid is not None
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=20)


def state_of(bench: Bench, study: Study) -> int:
    """Return how many epochs of the study's cell are durable."""
    names = [path.name for path in bench.home.work.glob("*/state-*")]
    return max((int(name.split("-")[1]) for name in names), default=0)


@pytest.mark.soak  # a minute of two cores
def test_a_server_killed_in_mid_sweep_loses_nothing(bench: Bench) -> None:
    """Epochs are trained without it; started again at its old address it has every value once, in order."""
    study = small_study("killed-server", epochs=60)
    bench.enroll(study)
    events: list[Event] = []
    worker = threading.Thread(target=lambda: work(bench.config(study), events.append, threading.Event()))
    worker.start()
    wait_for(lambda: state_of(bench, study) >= 3)
    kill_server(bench.home)
    before = state_of(bench, study)
    wait_for(lambda: state_of(bench, study) >= before + 10)
    assert any(isinstance(event, MlflowAway) and event.pending for event in events)
    assert lifecycle.start(bench.home).uri == bench.uri
    worker.join(200)
    assert not worker.is_alive()
    row = bench.row(study)
    assert row.state == "COMPLETE"
    run = bench.run(study)
    assert run.status == "FINISHED"
    shown = [event.test_acc for event in events if isinstance(event, EpochDone)]
    assert bench.points(run.run_id, "test_acc") == list(enumerate(shown))
    assert len(shown) == 60
    away = [event.pending for event in events if isinstance(event, MlflowAway)]
    assert max(away) >= 2 and away[-1] == 0


@pytest.mark.soak  # twenty seconds; the journal's own tests are in the suite
def test_without_a_server_from_beginning_to_end_everything_arrives_later(bench: Bench) -> None:
    """The cell completes in the table; the next look delivers the run and tells the table its id."""
    study = small_study("no-server", epochs=3)
    bench.enroll(study)
    kill_server(bench.home)
    assert run_worker(bench.config(study)) == 0
    row = bench.row(study)
    assert (row.state, row.run_id) == ("COMPLETE", None)
    assert lifecycle.start(bench.home).uri == bench.uri
    with Ledger.local(bench.home) as ledger:
        said = reconcile(study.name, ledger, bench.home, bench.uri)
        assert reconcile(study.name, ledger, bench.home, bench.uri) == []
    assert len(said) == 2
    run = bench.run(study)
    assert bench.row(study).run_id == run.run_id
    assert [step for step, _ in bench.points(run.run_id, "test_acc")] == [0, 1, 2]
    assert run.metrics["best_acc"] == (row.metrics or {})["best_acc"]
    assert bench.scratch() == []


@pytest.mark.soak  # half a minute of two cores
def test_a_worker_killed_while_the_server_is_away_loses_nothing(bench: Bench) -> None:
    """Journal and state are all there is; another worker goes on, and MLflow gets one whole run."""
    study = small_study("both", epochs=4)
    bench.enroll(study)
    kill_server(bench.home)
    victim = start_worker(bench.config(study, "victim"), "epoch-journaled=kill@2")
    victim.join(90)
    assert victim.exitcode == -signal.SIGKILL
    with Ledger.local(bench.home, policy=SETTINGS.policy) as ledger:
        ledger.leases.reclaim_worker(study.name, "victim")
    assert run_worker(bench.config(study, "heir")) == 0
    assert lifecycle.start(bench.home).uri == bench.uri
    with Ledger.local(bench.home) as ledger:
        reconcile(study.name, ledger, bench.home, bench.uri)
    run = bench.run(study)
    assert run.status == "FINISHED"
    assert [step for step, _ in bench.points(run.run_id, "test_acc")] == [0, 1, 2, 3]
    assert bench.row(study).attempts == 2


LOCK = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
database.execute("COMMIT")
"""


@pytest.mark.soak
def test_a_database_locked_for_long_is_waited_for(bench: Bench) -> None:
    """Another process holds SQLite's write lock for 35 s, longer than a transaction waits: the cell completes."""
    study = small_study("locked", epochs=3)
    bench.enroll(study)
    command = [sys.executable, "-c", LOCK, str(bench.home.trials_db), "35"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
        started = time.monotonic()
        assert run_worker(bench.config(study)) == 0
        assert time.monotonic() - started > 30
    assert bench.row(study).state == "COMPLETE"
