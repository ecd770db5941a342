"""Ctrl-C, once and twice: workers that may finish their step, and workers that may not."""

from __future__ import annotations

from collections.abc import Callable

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


def reclaim_workers(ledger: Ledger, study: str, workers: list[str]) -> None:
    """Take back the cells of workers that had to be killed and could not give them back themselves."""
    for worker in workers:
        ledger.leases.reclaim_worker(study, worker)
