"""A worker in a process of its own that starts in no time: forked from one that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.process import BaseProcess

from tracker.study.faults import VARIABLE
from tracker.sweep.workers.config import WorkerConfig

PRELOADED = [
    *("tracker.sweep.workers.process", "tracker.ledger.trials", "sklearn.datasets", "mlflow.tracking"),
    *("alembic.command", "matplotlib.backends.backend_agg", "optuna.storages._rdb.models"),
]
"""What a worker imports in the course of a cell."""

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(PRELOADED)


def start_worker(config: WorkerConfig, fault: str = "") -> BaseProcess:
    """Start a worker process with a fault injected."""
    process = CONTEXT.Process(target=_work, args=(config, fault), name=config.name, daemon=True)
    process.start()
    return process


def run_worker(config: WorkerConfig, fault: str = "") -> int:
    """Run a worker process to its end, and return its exit code."""
    process = start_worker(config, fault)
    process.join(120)
    assert process.exitcode is not None, "the worker hangs"
    return process.exitcode


def _work(config: WorkerConfig, fault: str) -> None:
    from tracker.sweep.workers.process import stop_on_terminate, work

    os.environ[VARIABLE] = fault
    stop: threading.Event = stop_on_terminate()
    work(config, lambda event: None, stop)
