"""The crew: who is replaced, who is not, and what becomes of devices."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import pytest

from tests.prepared_store import with_ledger
from tests.sweep.trials import small_study
from tracker.ledger.ledger import Ledger
from tracker.study.errors import DeviceError, UsageError
from tracker.study.home import Home
from tracker.sweep.events import CellReleased, CellStarted, Event, Notice, WorkerEnded, WorkerLeft, WorkerReady
from tracker.sweep.executors.local import MAX_STILLBORN, Crew
from tracker.sweep.executors.placement import Slot
from tracker.sweep.executors.pool import WorkerProcess
from tracker.sweep.options import SweepOptions
from tracker.sweep.run import prepare_sweep
from tracker.sweep.summary import Summary
from tracker.sweep.workers.process import stop_on_terminate

pytestmark = pytest.mark.usefixtures("one_fork_server")

Script = dict[str, str]


def act(config: tuple[str, str, str], mouth: Connection) -> None:
    """Do what the script says: a word for each worker."""
    name, device, word = config
    stop = stop_on_terminate() if word == "trains" else threading.Event()
    mouth.send(WorkerReady(name, device))
    if word == "stillborn":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "dies":
        mouth.send(CellStarted(name, f"cell of {name}", "a cell", 1, 1))
        os.kill(os.getpid(), signal.SIGKILL)
    if word in ("device", "crowded"):
        mouth.send(WorkerLeft(name, device, word))
    if word == "works":
        time.sleep(0.2)
    if word == "trains":
        mouth.send(CellStarted(name, f"cell of {name}", "a cell", 1, 1))
        if stop.wait(60):
            mouth.send(CellReleased(f"cell of {name}", "a cell", "asked to stop"))


class Stage:
    """A crew whose workers follow a script, and what was seen of it."""

    def __init__(
        self, home: Home, slots: list[Slot], script: Callable[[int], str], deadline: float | None = None
    ) -> None:
        self.summary = Summary()
        self.started: list[tuple[str, bool]] = []
        self.events: list[Event] = []
        self._script = script
        with Ledger.local(with_ledger(home)) as ledger:
            Crew(self._start, slots, ledger, "study", deadline).run(self._show, self.summary)

    def _show(self, event: Event) -> None:
        self.events.append(event)
        self.react(event)

    def react(self, event: Event) -> None:
        """Do nothing; a test may do something."""

    def _start(self, slot: Slot, shared: bool) -> WorkerProcess:
        self.started.append((slot.device, shared))
        name = str(len(self.started))
        return WorkerProcess(name, act, (name, slot.device, self._script(len(self.started))))


def test_a_worker_that_dies_with_a_cell_is_replaced(home: Home) -> None:
    """However often: the cell's attempts are what bounds it."""
    stage = Stage(home, [Slot("cpu", 0)], lambda number: "dies" if number <= MAX_STILLBORN + 3 else "works")
    assert len(stage.started) == MAX_STILLBORN + 4
    assert sum(isinstance(event, WorkerEnded) and event.exitcode != 0 for event in stage.events) == MAX_STILLBORN + 3


def test_workers_that_die_before_they_take_a_cell_are_not_replaced_for_ever(home: Home) -> None:
    """A broken installation ends the sweep."""
    stage = Stage(home, [Slot("cpu", 0)], lambda number: "stillborn")
    assert len(stage.started) == MAX_STILLBORN + 1


def test_a_worker_that_ends_is_not_replaced(home: Home) -> None:
    """Nothing was left for it."""
    assert Stage(home, [Slot("cpu", 0), Slot("cpu", 1)], lambda number: "works").started == [("cpu", True)] * 2


def test_a_failed_device_is_not_used_again_and_the_others_are(home: Home) -> None:
    """Its workers go; one that dies on the other device is replaced there."""
    slots = [Slot("cuda:0", 0), Slot("cuda:1", 0)]
    stage = Stage(home, slots, lambda number: {1: "device", 2: "dies"}.get(number, "works"))
    assert [device for device, _ in stage.started] == ["cuda:0", "cuda:1", "cuda:1"]


def test_without_a_device_the_sweep_ends_with_an_error(home: Home) -> None:
    """There is nothing to go on with."""
    with pytest.raises(DeviceError, match="every device has failed"):
        Stage(home, [Slot("cuda:0", 0)], lambda number: "device")


def test_a_crowded_device_gets_fewer_workers_and_the_last_one_is_told_it_is_alone(home: Home) -> None:
    """Of two, one leaves; the other, still thinking it shares, leaves too and comes back alone."""
    slots = [Slot("cuda:0", 0), Slot("cuda:0", 1)]
    stage = Stage(home, slots, lambda number: "crowded" if number <= 2 else "works")
    assert stage.started == [("cuda:0", True), ("cuda:0", True), ("cuda:0", False)]


def test_at_the_deadline_workers_stop_as_at_ctrl_c(home: Home) -> None:
    """Each is asked once, gives its cell back and is not replaced; the summary says why the sweep ended."""
    Stage(home, [Slot("cpu", 0)], lambda number: "works")  # what workers are forked from has imported everything
    started = time.monotonic()
    stage = Stage(home, [Slot("cpu", 0), Slot("cpu", 1)], lambda number: "trains", started + 3)
    assert 3 <= time.monotonic() - started < 30
    assert (stage.summary.expired, stage.summary.interrupted) == (True, False)
    assert len(stage.started) == 2
    assert sum(isinstance(event, CellReleased) for event in stage.events) == 2
    assert {event.exitcode for event in stage.events if isinstance(event, WorkerEnded)} == {0}
    assert [event.text for event in stage.events if isinstance(event, Notice)] == [
        "the time is up: cells in progress are kept and given back"
    ]


def test_a_deadline_that_does_not_come_changes_nothing(home: Home) -> None:
    """Its thread ends with the crew."""
    threads = threading.active_count()
    stage = Stage(home, [Slot("cpu", 0)], lambda number: "works", time.monotonic() + 600)
    assert not stage.summary.expired
    assert threading.active_count() <= threads


class _Impatient(Stage):
    """A stage whose user presses Ctrl-C as soon as a cell is begun."""

    def react(self, event: Event) -> None:
        if isinstance(event, CellStarted):
            raise KeyboardInterrupt


def test_ctrl_c_before_the_deadline_is_what_is_told(home: Home) -> None:
    """The deadline, coming while workers finish their step, asks nobody a second time: that would be a kill."""
    stage = _Impatient(home, [Slot("cpu", 0)], lambda number: "trains", time.monotonic() + 600)
    assert (stage.summary.expired, stage.summary.interrupted) == (False, True)
    assert {event.exitcode for event in stage.events if isinstance(event, WorkerEnded)} == {0}


def test_only_local_workers_keep_a_deadline(home: Home) -> None:
    """Asked of Ray it is refused before anything is looked at."""
    options = SweepOptions(executor="ray", deadline=time.monotonic() + 600)
    with pytest.raises(UsageError, match="keep no deadline"):
        prepare_sweep(small_study("small"), home, options, say=print)
    assert not home.root.exists()
