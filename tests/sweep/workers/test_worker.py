"""What a worker does with its cells: failures by class, pauses, cancellations, its own end."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.sweep.trials import SETTINGS, Bench, bench_beside, small_study
from tracker.ledger.ledger import Ledger
from tracker.study import faults
from tracker.study.errors import LedgerError
from tracker.study.failures import RetryPolicy
from tracker.study.home import Home
from tracker.study.study import Study
from tracker.sweep.events import (
    CellDone,
    CellFailed,
    CellReleased,
    CellResumed,
    CellStarted,
    EpochDone,
    Event,
    WorkerHeld,
    WorkerLeft,
)
from tracker.sweep.workers import disk, patience
from tracker.sweep.workers.keeper import LeaseKeeper
from tracker.sweep.workers.process import work


@pytest.fixture(scope="module")
def bench(served_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """One home for all tests of the file."""
    return bench_beside(served_home, Home(tmp_path_factory.mktemp("worker") / "mlruns"))


def run(bench: Bench, study: Study, **changes: object) -> list[Event]:
    """Run a worker in this process; return what it said."""
    events: list[Event] = []
    work(bench.config(study, **changes), events.append, threading.Event())
    return events


def broken(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Let something go wrong at a point, from now on."""
    faults.forget()
    monkeypatch.setenv(faults.VARIABLE, fault)


def artifact(bench: Bench, study: Study, name: str) -> Path:
    """Return a file of the study's only cell run."""
    (path,) = bench.artifacts.glob(f"*/{bench.run(study).run_id}/artifacts/{name}")
    return path


def test_an_exception_fails_its_cell_alone_and_its_traceback_is_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not tried again, the next cell runs, and the run says what happened."""
    study = small_study("exception", epochs=2, seeds=(1, 2))
    bench.enroll(study)
    broken(monkeypatch, "epoch-trained=error")
    events = run(bench, study)
    (failed,) = [event for event in events if isinstance(event, CellFailed)]
    assert (failed.failure_class, failed.kind, failed.again_in) == ("exception", "RuntimeError", None)
    assert [row.state for row in bench.rows(study)] == ["FAIL", "COMPLETE"]
    row = bench.rows(study)[0]
    assert (row.failure_class, row.failures, row.attempts) == ("exception", 1, 1)
    (path,) = bench.artifacts.glob(f"*/{row.run_id}/artifacts/traceback.txt")
    assert "a fault injected at epoch-trained" in path.read_text()


def test_exceptions_are_tried_again_if_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second attempt goes on after the first's last epoch, in the same run."""
    study = small_study("tried-again", epochs=3)
    bench.enroll(study)
    broken(monkeypatch, "epoch-trained=error@2")
    policy = RetryPolicy(max_attempts=2, wait_seconds=0, retry_exceptions=True)
    events = run(bench, study, settings=replace(SETTINGS, policy=policy))
    assert [event.done for event in events if isinstance(event, CellResumed)] == [1]
    assert bench.row(study).state == "COMPLETE"
    assert bench.run(study).status == "FINISHED"


def test_a_loss_that_is_not_finite_is_final(bench: Bench) -> None:
    """No number of attempts mends it: one is made, and the reason is in table and run."""
    study = small_study("diverges", epochs=8, optimizer="sgd", lr=100.0, schedule="constant")
    bench.enroll(study)
    events = run(bench, study)
    (failed,) = [event for event in events if isinstance(event, CellFailed)]
    assert (failed.failure_class, failed.kind, failed.again_in) == ("not-finite", "NotFinite", None)
    row = bench.row(study)
    assert (row.state, row.attempts) == ("FAIL", 1)
    assert "_loss is" in (row.failure_message or "")
    assert "not-finite" in bench.run(study).tags["mlflow.note.content"]


def test_out_of_memory_is_tried_in_smaller_parts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker alone on its device halves what it does at once; the run says in how many parts."""
    study = small_study("memory", epochs=2)
    bench.enroll(study)
    broken(monkeypatch, "stepped=memory@2,stepped=memory@5")
    events = run(bench, study)
    assert [event.failure_class for event in events if isinstance(event, CellFailed)] == ["out-of-memory"] * 2
    row = bench.row(study)
    assert (row.state, row.attempts, row.micro_batches) == ("COMPLETE", 3, 4)
    assert bench.run(study).tags["tracker.micro_batches"] == "4"


def test_on_a_shared_device_out_of_memory_means_one_worker_less(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker leaves; the cell waits for one that has more room, in whole batches."""
    study = small_study("crowded", epochs=2)
    bench.enroll(study)
    broken(monkeypatch, "stepped=memory")
    events = run(bench, study, shares_device=True)
    (left,) = [event for event in events if isinstance(event, WorkerLeft)]
    assert left.why == "crowded"
    assert (bench.row(study).state, bench.row(study).micro_batches) == ("WAITING", 1)


def test_attempts_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many failures of the machine the cell counts as failed, with the last reason."""
    study = small_study("hopeless", epochs=1)
    bench.enroll(study)
    broken(monkeypatch, ",".join(f"run-opened=memory@{number}" for number in range(1, 9)))
    policy = RetryPolicy(max_attempts=3, wait_seconds=0)
    with pytest.raises(MemoryError):  # not in a cell's training: the worker itself has no memory
        run(bench, study, settings=replace(SETTINGS, policy=policy))
    broken(monkeypatch, ",".join(f"stepped=memory@{number}" for number in range(1, 9)))
    with Ledger.local(bench.home, policy=SETTINGS.policy) as ledger:
        ledger.leases.reclaim_worker(study.name, "worker")
    events = run(bench, study, settings=replace(SETTINGS, policy=policy))
    waits = [event.again_in for event in events if isinstance(event, CellFailed)]
    assert waits[-1] is None
    assert (bench.row(study).state, bench.row(study).failures) == ("FAIL", 3)


def test_a_device_that_fails_is_set_aside(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker leaves it, the cell waits for another device, and the table knows which one failed."""
    study = small_study("bad-device", epochs=1)
    bench.enroll(study)
    broken(monkeypatch, "stepped=device")
    events = run(bench, study, device_place="here/GPU-7")
    (left,) = [event for event in events if isinstance(event, WorkerLeft)]
    assert left.why == "device"
    assert (bench.row(study).state, bench.row(study).failure_class) == ("WAITING", "device")
    with Ledger.local(bench.home) as ledger:
        assert [device.place for device in ledger.devices.aside()] == ["here/GPU-7"]
        ledger.devices.take_back("here/GPU-7")


def test_a_full_disk_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker says so and keeps its cell; when there is room again it goes on, and nothing was lost."""
    study = small_study("full", epochs=3)
    bench.enroll(study)
    broken(monkeypatch, "state-written=disk-full@2")
    monkeypatch.setattr(disk, "LOOK_SECONDS", 0.05)
    events = run(bench, study)
    held = [event.reason for event in events if isinstance(event, WorkerHeld)]
    assert held[0] is not None and "free some space" in held[0]
    assert held[1:] == [None]
    assert (bench.row(study).state, bench.row(study).attempts) == ("COMPLETE", 1)
    assert [step for step, _ in bench.points(bench.run(study).run_id, "test_acc")] == [0, 1, 2]


def test_a_database_that_is_gone_for_good_ends_the_worker_and_fails_no_cell(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cell is not to blame: its lease runs out, its state is on disk, its run is not FAILED."""
    study = small_study("gone", epochs=4)
    bench.enroll(study)
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.0)

    def gone(*_: object) -> None:
        raise LedgerError("the disk is on fire")

    events = Chatty(EpochDone, lambda: monkeypatch.setattr(LeaseKeeper, "ensure", gone))
    with pytest.raises(LedgerError, match="on fire"):
        work(bench.config(study), events.append, threading.Event())
    row = bench.row(study)
    assert (row.state, row.failures) == ("RUNNING", 0)
    assert bench.run(study).status != "FAILED"
    monkeypatch.undo()
    with Ledger.local(bench.home, policy=SETTINGS.policy) as ledger:
        ledger.leases.reclaim_worker(study.name, "worker")
    assert [event.done for event in run(bench, study) if isinstance(event, CellResumed)] == [1]


class Chatty(list[Event]):
    """Hears a worker, and does something when a certain event comes."""

    def __init__(self, kind: type, then: object) -> None:
        super().__init__()
        self._kind, self._then = kind, then

    def append(self, event: Event) -> None:
        super().append(event)
        if isinstance(event, self._kind) and self._then is not None:
            then, self._then = self._then, None
            then()  # type: ignore[operator]


def test_a_paused_study_is_left_where_it_stands(bench: Bench) -> None:
    """The cell is given back with its state, the worker ends; resumed, it goes on there."""
    study = small_study("paused", epochs=400)
    bench.enroll(study)
    short = replace(SETTINGS, lease_seconds=3.0)
    with Ledger.local(bench.home) as ledger:
        events = Chatty(CellStarted, lambda: ledger.pause(study.name, "by a test"))
        work(bench.config(study, settings=short), events.append, threading.Event())
        (released,) = [event for event in events if isinstance(event, CellReleased)]
        assert "by a test" in released.why
        row = bench.row(study)
        assert (row.state, row.failures) == ("WAITING", 0)
        assert bench.run(study).status == "KILLED"
        assert not [event for event in run(bench, study) if isinstance(event, CellStarted)]
        ledger.resume(study.name)
    stop = threading.Event()
    again = Chatty(CellResumed, stop.set)
    work(bench.config(study), again.append, stop)
    (resumed,) = [event for event in again if isinstance(event, CellResumed)]
    assert resumed.done >= (row.last_epoch or 0)


def test_a_cancelled_cell_is_let_go(bench: Bench) -> None:
    """Its run is KILLED, and the worker goes on with the next cell."""
    study = small_study("cancelled", epochs=400, seeds=(1,))
    bench.enroll(study)
    with Ledger.local(bench.home) as ledger:
        events = Chatty(CellStarted, lambda: ledger.cancel(study.name))
        work(bench.config(study, settings=replace(SETTINGS, lease_seconds=3.0)), events.append, threading.Event())
    (released,) = [event for event in events if isinstance(event, CellReleased)]
    assert released.why == "cancelled"
    assert bench.row(study).state == "PRUNED"
    assert bench.run(study).status == "KILLED"


def test_a_worker_ends_after_so_many_cells(bench: Bench) -> None:
    """The others wait for somebody else."""
    study = small_study("some", epochs=1, seeds=(1, 2, 3))
    bench.enroll(study)
    events = run(bench, study, max_cells=2)
    assert sum(isinstance(event, CellDone) for event in events) == 2
    assert [row.state for row in bench.rows(study)] == ["COMPLETE", "COMPLETE", "WAITING"]


def test_a_cell_of_a_newer_definition_is_looked_up(bench: Bench) -> None:
    """Another sweep has grown the study since the worker was started."""
    study = small_study("grown", epochs=1, seeds=(1,))
    bench.enroll(small_study("grown", epochs=1, seeds=(1, 2)))
    events = run(bench, study)
    assert sum(isinstance(event, CellDone) for event in events) == 2
