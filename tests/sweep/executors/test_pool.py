"""Worker processes: heard, replaced when they die, never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest
import torch

from tracker.sweep.events import CellStarted, Event, Notice, WorkerEnded, WorkerReady
from tracker.sweep.executors.pool import PRELOADED, Pool, WorkerProcess

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.usefixtures("one_fork_server")

Target = Callable[[str, Connection], None]


def works(config: str, mouth: Connection) -> None:
    """Say a word and end."""
    mouth.send(WorkerReady(config, "cpu"))


def dies(config: str, mouth: Connection) -> None:
    """Take a cell and be killed with it."""
    mouth.send(CellStarted(config, "cell", "a cell", 1, 1))
    os.kill(os.getpid(), signal.SIGKILL)


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


def imports(config: str, mouth: Connection) -> None:
    """Say which of what a worker needs was there when it began."""
    there = [name for name in PRELOADED if name in sys.modules]
    mouth.send(Notice(" ".join(there)))


def computes(config: str, mouth: Connection) -> None:
    """Compute on a device, as a worker does."""
    import torch

    torch.cuda.set_device(config)
    mouth.send(Notice(str(torch.ones(3, device=config).sum().item())))


def pool_of(target: Target, workers: int = 1) -> Pool:
    """Start workers named 1, 2, ..."""
    pool = Pool()
    for number in range(1, workers + 1):
        pool.add(WorkerProcess(str(number), target, str(number)))
    return pool


def test_all_workers_are_heard_and_end() -> None:
    """Every worker's words arrive, and the stream ends with the last of them."""
    events = list(pool_of(works, workers=2).events())
    assert {event.worker for event in events if isinstance(event, WorkerReady)} == {"1", "2"}
    assert sorted(event.worker for event in events if isinstance(event, WorkerEnded)) == ["1", "2"]
    assert len(events) == 4


def test_a_death_names_signal_and_cell_and_a_worker_added_then_is_heard() -> None:
    """Whoever listens can start another worker before the stream ends."""
    pool = pool_of(dies)
    events: list[Event] = []
    for event in pool.events():
        events.append(event)
        if isinstance(event, WorkerEnded) and event.worker == "1":
            pool.add(WorkerProcess("2", works, "2"))
    assert pool.names == ["1", "2"]
    assert events[1] == WorkerEnded("1", -signal.SIGKILL, "cell")
    assert events[2] == WorkerReady("2", "cpu")


def test_asked_to_stop_workers_end_in_their_own_words() -> None:
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


START_ONE = """
from tests.sweep.executors.test_pool import imports
from tracker.sweep.executors.pool import Pool, WorkerProcess, warm_up
if __name__ == "__main__":
    warm_up()
    pool = Pool()
    pool.add(WorkerProcess("1", imports, "1"))
    print(next(pool.events()).text)
"""


@pytest.mark.soak  # imports everything, twice
def test_a_worker_begins_with_everything_imported() -> None:
    """It is forked from a process that has done so, once for all workers."""
    done = subprocess.run([sys.executable, "-c", START_ONE], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.stdout.split() == list(PRELOADED), done.stderr


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_worker_computes_on_its_device() -> None:
    """What workers are forked from has not touched CUDA, which would make it useless in them."""
    pool = Pool()
    pool.add(WorkerProcess("1", computes, "cuda:0"))
    (said,) = [event.text for event in pool.events() if isinstance(event, Notice)]
    assert said == "3.0"
