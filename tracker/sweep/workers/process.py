"""A worker as a process of its own: signals, threads, device."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing.connection import Connection

import torch

from tracker.ledger.ledger import Ledger
from tracker.study.errors import TrackerError
from tracker.sweep.events import Event, Notice
from tracker.sweep.workers.config import WorkerConfig
from tracker.sweep.workers.patience import Patience
from tracker.sweep.workers.worker import Emit, Worker


def worker_main(config: WorkerConfig, mouth: Connection) -> None:
    """Run a worker for the process that started it, until no cell is left or it is told to stop (SIGTERM)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    stop = stop_on_terminate()

    speaking = threading.Lock()  # states are written, and told of, by a thread of their own

    def emit(event: Event) -> None:
        try:
            with speaking:
                mouth.send(event)
        except OSError:  # the parent is gone: nobody wants the rest
            stop.set()

    try:
        work(config, emit, stop)
    except TrackerError as error:
        emit(Notice(f"worker {config.name} ends: {error}"))
        raise SystemExit(1) from error


def work(config: WorkerConfig, emit: Emit, stop: threading.Event) -> int:
    """Run a worker in this process; return how many cells it took."""
    torch.set_num_threads(config.threads)
    if config.device.startswith("cuda"):
        torch.cuda.set_device(config.device)
    settings = config.crew.settings
    patiently = Patience(stop, lambda text: emit(Notice(f"worker {config.name}: {text}")))
    # Where a thousand workers start at once, the database may be slow to let each of them in.
    with patiently(lambda: Ledger(config.crew.ledger_url, settings.lease_seconds, settings.policy)) as ledger:
        return Worker(config, ledger, emit, stop).run()


def stop_on_terminate(*others: signal.Signals) -> threading.Event:
    """Return what SIGTERM, or one of `others`, sets; the second of them ends the process at once."""
    stop = threading.Event()
    numbers = (signal.SIGTERM, *others)

    def first(_number: int, _frame: object) -> None:
        stop.set()
        for number in numbers:
            signal.signal(number, lambda *_: os._exit(1))

    for number in numbers:
        signal.signal(number, first)
    return stop
