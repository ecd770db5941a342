"""Worker processes on this machine: started, listened to, stopped cleanly.

Each worker has a pipe of its own, so a worker killed in the middle of a sentence cannot block
the others, as a shared queue's lock would.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import Any

from tracker.sweep.events import CellDone, CellFailed, CellReleased, CellStarted, Event, WorkerEnded

STOP_SECONDS = 60.0
"""How long a worker may take to finish its step, keep its state, give its cell back and close its run."""


PRELOADED = ("tracker.sweep.workers.process", "tracker.ledger.trials", "mlflow.tracking")
"""What every worker needs: imported once, before any of them starts."""


def _context() -> ForkServerContext:
    """Return what starts workers: forked from a process that has imported what they need, and done nothing else.

    A sweep's own process cannot be forked: it has threads, and maybe CUDA.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def warm_up() -> None:
    """Begin to import what workers need, while something else is done; nothing happens where it was done before."""
    _context()
    forkserver.ensure_running()


class WorkerProcess:
    """One process and its pipe.

    Args:
        name: unique among the living, as the ledger knows it.
        target: run in the process as `target(config, mouth)`; must be importable.
        config: picklable.
    """

    def __init__(self, name: str, target: Callable[[Any, Connection], None], config: Any) -> None:
        context = _context()
        self.name = name
        self.cell_id: str | None = None
        self.ear, mouth = context.Pipe(duplex=False)
        self.process = context.Process(target=target, args=(config, mouth), name=name, daemon=True)
        self.process.start()
        mouth.close()  # so that the pipe ends when the worker does

    def listen(self) -> Event:
        """Return what the worker says next, or that it ended."""
        try:
            event: Event = self.ear.recv()
        except (EOFError, OSError):
            self.process.join()
            return WorkerEnded(self.name, self.process.exitcode or 0, self.cell_id)
        if isinstance(event, CellStarted):
            self.cell_id = event.cell_id
        elif isinstance(event, CellDone | CellFailed | CellReleased):
            self.cell_id = None
        return event


class Pool:
    """Worker processes, from `add` to their end.

    Attributes:
        names: all workers ever added.
    """

    def __init__(self) -> None:
        self._workers: list[WorkerProcess] = []
        self.names: list[str] = []

    def add(self, worker: WorkerProcess) -> None:
        """Listen to one more worker; also while `events` is being read."""
        self._workers.append(worker)
        self.names.append(worker.name)

    def events(self) -> Iterator[Event]:
        """Yield what the workers say until all have ended."""
        while self._workers:
            ears = [worker.ear for worker in self._workers]
            for ear in multiprocessing.connection.wait(ears):
                worker = next(worker for worker in self._workers if worker.ear is ear)
                event = worker.listen()
                if isinstance(event, WorkerEnded):
                    self._workers.remove(worker)
                    worker.ear.close()
                yield event

    def stop(self) -> None:
        """Ask every worker to finish its step, give its cell back and end."""
        for worker in self._workers:
            worker.process.terminate()

    def kill(self) -> None:
        """End every worker at once, whatever it is doing."""
        for worker in self._workers:
            worker.process.kill()

    def close(self) -> None:
        """See that no worker is left: ask, wait, then kill."""
        if any(worker.process.is_alive() for worker in self._workers):
            self.stop()
        deadline = time.monotonic() + STOP_SECONDS
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.ear.close()
        self._workers.clear()
