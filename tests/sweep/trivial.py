"""Cells without a training: all that a worker does around one, thousands of times."""

from __future__ import annotations

import threading
import time

from tracker.ledger.ledger import Ledger
from tracker.study.home import replacing
from tracker.study.study import Cell
from tracker.sweep.workers.cell import Attempt, Outcome
from tracker.sweep.workers.config import WorkerConfig
from tracker.sweep.workers.process import stop_on_terminate
from tracker.sweep.workers.workbench import Workbench
from tracker.sweep.workers.worker import Worker
from tracker.tracking.run import TrackedRun

CELL_SECONDS = 0.005


def value_of(cell_id: str) -> float:
    """Return the accuracy of a cell, which no other cell has."""
    return int(cell_id, 16) / float(16 ** len(cell_id))


def trivial_cell(cell: Cell, bench: Workbench, run: TrackedRun, attempt: Attempt) -> Outcome:
    """Do what a training does, on paper: one epoch, durable before it is logged with the time it was made.

    Writes: the training state, a file `state` with that time.
    """
    attempt.keeping.ensure()
    state = attempt.keeping.folder / "state"
    if not state.exists():
        time.sleep(CELL_SECONDS)
        with replacing(state) as temporary:
            temporary.write_text(str(time.time_ns() // 1_000_000))
    attempt.durable(0)
    metrics = {"test_acc": value_of(cell.id), "best_acc": value_of(cell.id)}
    run.log_epoch(0, metrics, int(state.read_text()))
    attempt.keeping.ensure()
    return Outcome(metrics={**metrics, "best_epoch": 0.0}, seconds=CELL_SECONDS)


def work_trivially(config: WorkerConfig) -> None:
    """Be a worker process whose cells are trivial."""
    stop: threading.Event = stop_on_terminate()
    with Ledger(config.crew.ledger_url, config.crew.settings.lease_seconds, config.crew.settings.policy) as ledger:
        Worker(config, ledger, lambda event: None, stop, train=trivial_cell).run()
