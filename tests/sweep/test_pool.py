"""Worker processes: heard, replaced when they die, never left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from itertools import count
from multiprocessing.connection import Connection

import psutil

from tracker.sweep.events import CellStarted, Event, Notice, WorkerEnded, WorkerReady
from tracker.sweep.pool import Pool, WorkerProcess

Target = Callable[[str, Connection], None]


def works(config: str, mouth: Connection) -> None:
    """Say a word and end."""
    mouth.send(WorkerReady(config, "cpu"))


def dies(config: str, mouth: Connection) -> None:
    """Take a cell and be killed with it."""
    mouth.send(CellStarted(config, "cell", "a cell", 1, 1))
    os.kill(os.getpid(), signal.SIGKILL)


def dies_at_first(config: str, mouth: Connection) -> None:
    """The first of the name dies, its replacement works."""
    (dies if config == "1" else works)(config, mouth)


def waits(config: str, mouth: Connection) -> None:
    """Work until told to stop, then say so."""
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    mouth.send(WorkerReady(config, str(os.getpid())))
    while not stopped:
        time.sleep(0.02)
    mouth.send(Notice("stopped"))


def deaf(config: str, mouth: Connection) -> None:
    """Ignore SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    mouth.send(WorkerReady(config, str(os.getpid())))
    time.sleep(600)


def pool_of(target: Target, workers: int = 1, replacements: int = 2) -> Pool:
    """Start workers named 1, 2, ..."""
    numbers = count(1)

    def start() -> WorkerProcess:
        name = str(next(numbers))
        return WorkerProcess(name, target, name)

    return Pool(start, workers, replacements)


def test_all_workers_are_heard_and_end() -> None:
    """Every worker's words arrive, and the stream ends with the last of them."""
    events = list(pool_of(works, workers=2).events())
    assert {event.worker for event in events if isinstance(event, WorkerReady)} == {"1", "2"}
    assert sorted(event.worker for event in events if isinstance(event, WorkerEnded)) == ["1", "2"]
    assert len(events) == 4


def test_a_killed_worker_is_replaced_and_its_cell_named() -> None:
    """The death names signal and cell before the replacement starts; the replacement works."""
    pool = pool_of(dies_at_first)
    events = list(pool.events())
    assert pool.names == ["1", "2"]
    assert events[1] == WorkerEnded("1", -signal.SIGKILL, "cell")
    assert events[2] == WorkerReady("2", "cpu")


def test_workers_that_always_die_are_not_replaced_for_ever() -> None:
    """A broken installation ends: one worker and two replacements, then no more."""
    deaths = [event for event in pool_of(dies, replacements=2).events() if isinstance(event, WorkerEnded)]
    assert [death.worker for death in deaths] == ["1", "2", "3"]


def test_asked_to_stop_workers_end_in_their_own_words_and_are_not_replaced() -> None:
    """SIGTERM reaches each worker; what it says afterwards is still heard."""
    pool = pool_of(waits, workers=2)
    heard: list[Event] = []
    for event in pool.events():
        heard.append(event)
        if sum(isinstance(e, WorkerReady) for e in heard) == 2 and len(heard) == 2:
            pool.stop()
    assert heard.count(Notice("stopped")) == 2
    assert len(heard) == 6


def test_killed_workers_are_gone() -> None:
    """A worker that does not listen is killed; close() leaves nobody behind."""
    pool = pool_of(deaf)
    events = pool.events()
    ready = next(events)
    assert isinstance(ready, WorkerReady)
    pool.kill()
    pool.close()
    assert not psutil.pid_exists(int(ready.device))
