"""The worker: takes cells one after another and carries things between training, ledger and tracking."""

from __future__ import annotations

import signal
import tempfile
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

import torch

from tracker.ledger.ledger import Ledger
from tracker.ledger.rows import Claim
from tracker.study.errors import LeaseLost, LedgerError, Stopped, TrackerError
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.study import Cell
from tracker.sweep.cell import Workbench, train_cell
from tracker.sweep.events import CellDone, CellFailed, CellReleased, CellStarted, EpochDone, Event, Notice, WorkerReady
from tracker.tracking.environment import environment_tags
from tracker.tracking.run import TrackedRun
from tracker.tracking.writing import StudyPlace, StudyTracking
from tracker.training.device import describe_device
from tracker.training.trial import EpochResult


@dataclass(frozen=True)
class WorkerConfig:
    """All a worker needs, picklable.

    Args:
        name: unique among living workers; the ledger's owner of a lease.
        document: the study, as `Study.document()`.
        home: the home folder.
        device: resolved: `cpu` or `cuda:N`.
        threads: CPU threads this worker may use.
        tracking_uri: the MLflow server.
        place: the study's experiment and run there.
        ledger_url: the trial database.
        weights_dir: where torchvision's weights are looked for; None for the usual places.
        lease_seconds: how long a silent worker keeps its cell.
    """

    name: str
    document: dict[str, Any]
    home: Path
    device: str
    threads: int
    tracking_uri: str
    place: StudyPlace
    ledger_url: str
    weights_dir: Path | None
    lease_seconds: float = 60.0


Emit = Callable[[Event], None]


def worker_main(config: WorkerConfig, mouth: Connection) -> None:
    """Run a worker process until no cell waits, or until it is told to stop (SIGTERM)."""
    stop = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def emit(event: Event) -> None:
        try:
            mouth.send(event)
        except OSError:  # the parent is gone: nobody wants the rest
            stop.set()

    torch.set_num_threads(config.threads)
    with Ledger(config.ledger_url, config.lease_seconds) as ledger:
        Worker(config, ledger, emit, stop).run()


class Worker:
    """Runs cells of one study until none waits.

    Args:
        ledger: opened in this process.
        emit: told what happens.
        stop: set from outside to end after the current step.
    """

    def __init__(self, config: WorkerConfig, ledger: Ledger, emit: Emit, stop: threading.Event) -> None:
        self._config = config
        self._emit = emit
        self._stop = stop
        self._study = parse_study(config.document, file=f"study {config.document['name']}")
        self._cells = {cell.id: cell for cell in self._study.cells}
        self._ledger = ledger
        home = Home(config.home)
        self._tracking = StudyTracking(config.tracking_uri, home, self._study, config.place)
        self._device = torch.device(config.device)
        self._bench = Workbench(home, self._device, config.weights_dir)
        self._tags = environment_tags() | {"device": describe_device(self._device), "worker": config.name}

    def run(self) -> None:
        """Take and run cells until none waits or `stop` is set."""
        self._emit(WorkerReady(self._config.name, str(self._device)))
        while not self._stop.is_set():
            claim = self._ledger.claim(self._study.name, self._config.name)
            if claim is None:
                return
            self._run_cell(self._cells[claim.cell_id], claim)

    def _run_cell(self, cell: Cell, claim: Claim) -> None:
        """Run one cell and settle it everywhere: its MLflow run first, then the ledger, whose word counts."""
        self._emit(CellStarted(self._config.name, cell.id, cell.name, cell.recipe.epochs, claim.attempt))
        # Never the run of an earlier attempt: a ledger begun anew counts attempts from 1 again.
        run = self._tracking.cell_run(cell, f"{claim.attempt}-{uuid4().hex[:8]}", self._tags)
        with _LeaseKeeper(self._ledger, claim, self._config.lease_seconds / 3) as lease:
            try:
                outcome = train_cell(
                    cell,
                    self._bench,
                    run,
                    on_epoch=partial(self._tell_epoch, cell),
                    stop=lambda: self._stop.is_set() or lease.lost,
                )
            except Stopped:
                run.finish("KILLED", note="the lease ran out" if lease.lost else "the sweep was asked to stop")
                self._settle(cell, lambda: self._ledger.release(claim))
                self._emit(CellReleased(cell.id, cell.name))
            except Exception as error:  # one bad cell never stops the others
                message = _first_line(error)
                self._log_traceback(cell, run)
                run.finish("FAILED", note=message)
                kind = type(error).__name__
                self._settle(cell, lambda: self._ledger.fail(claim, kind, message, run_id=run.run_id))
                self._emit(CellFailed(cell.id, cell.name, kind, message))
            else:
                run.finish("FINISHED")
                metrics, seconds = outcome.metrics, outcome.seconds
                settled = self._settle(
                    cell, lambda: self._ledger.complete(claim, metrics, run_id=run.run_id, seconds=seconds)
                )
                if settled:
                    self._emit(CellDone(cell.id, cell.name, metrics, seconds))

    def _tell_epoch(self, cell: Cell, result: EpochResult) -> None:
        self._emit(
            EpochDone(
                cell_id=cell.id,
                name=cell.name,
                epoch=result.epoch,
                epochs=cell.recipe.epochs,
                test_acc=result.metrics["test_acc"],
                best_acc=result.selection.best_acc,
                seconds=result.metrics["epoch_seconds"],
            )
        )

    def _settle(self, cell: Cell, write: Callable[[], object]) -> bool:
        """Write a cell's end to the ledger; another worker's right to it comes first."""
        try:
            write()
        except LeaseLost:
            self._emit(Notice(f"{cell.name}: the lease ran out and another worker has it; this attempt does not count"))
            return False
        return True

    def _log_traceback(self, cell: Cell, run: TrackedRun) -> None:
        """Keep the traceback as an artifact, where a person debugging looks for it."""
        home = self._bench.home
        with tempfile.TemporaryDirectory(dir=home.make(home.work), prefix=f"{cell.id}-") as folder:
            path = Path(folder) / "traceback.txt"
            path.write_text(traceback.format_exc(), encoding="utf-8")
            run.log_file(path)


class _LeaseKeeper:
    """Renews a lease from a thread of its own, so that a long step does not lose it.

    Args:
        every: seconds between renewals.
    """

    def __init__(self, ledger: Ledger, claim: Claim, every: float) -> None:
        self._ledger = ledger
        self._claim = claim
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease-{claim.cell_id}", daemon=True)
        self.lost = False

    def __enter__(self) -> _LeaseKeeper:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._over.wait(self._every):
            try:
                self._ledger.renew(self._claim)
            except LeaseLost:
                self.lost = True
                return
            except LedgerError:
                continue  # the database is busy or away; the lease still has two tries left


def _first_line(error: Exception) -> str:
    text = error.message if isinstance(error, TrackerError) else str(error)
    return (text.strip().splitlines() or [type(error).__name__])[0][:500]
