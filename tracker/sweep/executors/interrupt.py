"""Ctrl-C, once and twice, and the deadline: workers that may finish their step, and workers that may not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tracker.ledger.ledger import Ledger
from tracker.sweep.events import Event, Notice
from tracker.sweep.summary import Summary


def listen_until_stopped(
    listen: Callable[[], None],
    stop: Callable[[], None],
    kill: Callable[[], None],
    show: Callable[[Event], None],
    summary: Summary,
) -> None:
    """Listen to workers until all have ended; at Ctrl-C let them stop and listen on, at a second one kill them.

    Args:
        listen: returns when no worker is left.
        stop: asks every worker to finish its step and give its cell back, and lets no other start.
        kill: ends every worker at once.
    """
    try:
        try:
            listen()
        except KeyboardInterrupt:
            summary.interrupted = True
            show(Notice("stopping: cells in progress are kept and given back (Ctrl-C again: at once)"))
            stop()
            listen()
    except KeyboardInterrupt:
        show(Notice("stopped at once; the next sweep mends what was left"))
        kill()


@contextmanager
def acting_at(deadline: float | None, act: Callable[[], None]) -> Iterator[None]:
    """Call `act` once at an instant of `time.monotonic()`, from a thread, unless the block has ended by then.

    What listens to workers waits for their pipes and for nothing else; a signal would reach it, but there is one alarm
    a process, which is not ours to take.

    Args:
        deadline: None never calls it.
    """
    if deadline is None:
        yield
        return
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), act)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def reclaim_workers(ledger: Ledger, study: str, workers: list[str]) -> None:
    """Take back the cells of workers that had to be killed and could not give them back themselves."""
    for worker in workers:
        ledger.leases.reclaim_worker(study, worker)
