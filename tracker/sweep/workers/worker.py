"""The worker: takes cells one after another and carries things between training, ledger and tracking."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable
from typing import Literal

import torch

from tracker.ledger.ledger import Ledger
from tracker.ledger.rows import Claim
from tracker.study.errors import LeaseLost, LedgerError, Stopped
from tracker.study.failures import Failure
from tracker.study.faults import reach
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.study import Cell
from tracker.sweep.events import (
    CellResumed,
    CellStarted,
    EpochDone,
    Event,
    MlflowAway,
    Notice,
    WorkerHeld,
    WorkerLeft,
    WorkerReady,
)
from tracker.sweep.workers.cell import Attempt, Outcome, train_cell
from tracker.sweep.workers.config import WorkerConfig
from tracker.sweep.workers.diagnosis import diagnose
from tracker.sweep.workers.disk import DiskGuard
from tracker.sweep.workers.durable import Keeping
from tracker.sweep.workers.keeper import LeaseKeeper
from tracker.sweep.workers.meter import Meter
from tracker.sweep.workers.patience import Patience
from tracker.sweep.workers.settling import Settling
from tracker.sweep.workers.workbench import Workbench
from tracker.tracking.environment import environment_tags
from tracker.tracking.run import TrackedRun
from tracker.tracking.states import StateExchange
from tracker.tracking.writing import StudyTracking
from tracker.training.device import describe_device, give_back_memory
from tracker.training.trial import EpochResult

IDLE_SECONDS = 2.0
"""How often a worker without a cell looks whether there is one."""

MAX_MICRO_BATCHES = 64

Emit = Callable[[Event], None]
Trainer = Callable[[Cell, Workbench, TrackedRun, Attempt], Outcome]


class Worker:
    """Runs cells of one study until none is left for it.

    Args:
        ledger: opened in this process.
        emit: told what happens.
        stop: set from outside to end after the current step.
        train: what is done with a cell.
    """

    def __init__(
        self, config: WorkerConfig, ledger: Ledger, emit: Emit, stop: threading.Event, train: Trainer = train_cell
    ) -> None:
        self._config = config
        self._crew = config.crew
        self._emit = emit
        self._stop = stop
        self._train = train
        self._study = parse_study(self._crew.document, file=f"study {self._crew.document['name']}")
        self._cells = {cell.id: cell for cell in self._study.cells}
        self._ledger = ledger
        self._home = Home(self._crew.home)
        self._tracking = StudyTracking(self._crew.tracking_uri, self._home, self._study, self._crew.place)
        self._device = torch.device(config.device)
        self._bench = Workbench(self._home, self._device, self._crew.weights_dir)
        self._patiently = Patience(stop, lambda text: emit(Notice(f"worker {config.name}: {text}")))
        self._tags = environment_tags() | {"device": describe_device(self._device), "worker": config.name}
        self._leaves = False
        self._away = False

    def run(self) -> int:
        """Take and run cells until none is left, `stop` is set or the device fails; return how many were taken."""
        self._emit(WorkerReady(self._config.name, str(self._device)))
        taken = 0
        idle_since = time.monotonic()
        while not (self._stop.is_set() or self._leaves):
            if self._config.max_cells is not None and taken >= self._config.max_cells:
                break
            claim = self._patiently(lambda: self._ledger.leases.claim(self._study.name, self._config.name))
            if claim is None:
                if not self._waits(time.monotonic() - idle_since):
                    break
                self._stop.wait(IDLE_SECONDS)
                continue
            reach("claimed")
            taken += 1
            if (cell := self._find(claim)) is not None:
                self._run_cell(cell, claim)
            idle_since = time.monotonic()
        return taken

    def _find(self, claim: Claim) -> Cell | None:
        """Return the cell of a claim; one of a definition that is newer than this worker's is looked up."""
        if claim.cell_id not in self._cells:
            document = self._patiently(lambda: self._ledger.definition(self._study.name)) or self._crew.document
            self._study = parse_study(document, file=f"study {self._study.name} of the trial database")
            self._cells |= {cell.id: cell for cell in self._study.cells}
        cell = self._cells.get(claim.cell_id)
        if cell is None:
            self._patiently(lambda: self._ledger.leases.release(claim))
            self._leaves = True
            self._emit(Notice(f"{claim.name}: its definition is not in the trial database; sweep the study again"))
        return cell

    def _waits(self, idle_seconds: float) -> bool:
        """Say whether a worker that finds nothing to take should look again."""
        if self._config.burst:
            return False
        if self._config.max_idle is not None:  # a worker of its own: others' leases may run out, a pause may end
            counts = self._patiently(lambda: self._ledger.counts(self._study.name))
            return idle_seconds < self._config.max_idle and counts.waiting + counts.running + counts.lost > 0
        if self._patiently(lambda: self._ledger.pause_reason(self._study.name)) is not None:
            return False
        return self._patiently(lambda: self._ledger.counts(self._study.name)).waiting > 0

    def _run_cell(self, cell: Cell, claim: Claim) -> None:
        """Run one cell and settle it everywhere."""
        self._emit(CellStarted(self._config.name, cell.id, cell.name, cell.recipe.epochs, claim.attempt))
        exchange = self._exchange(claim)
        keeper = LeaseKeeper(self._ledger.leases, claim, self._crew.settings.lease_seconds)
        with keeper as lease, Meter(self._device) as meter:
            run = self._tracking.cell_run(cell, claim.run_key, self._tags, token=claim.token)
            reach("run-opened")
            run.sample(meter.take)
            settling = Settling(self._ledger, self._patiently, self._emit, cell, claim, run, lease)
            try:
                if (run_id := run.run_id) is not None:
                    self._patiently(lambda: self._ledger.leases.set_run(claim, run_id))
                outcome = self._train(cell, self._bench, run, self._attempt(cell, claim, run, lease, exchange))
                lease.ensure()
            except LeaseLost:
                settling.give_up()
            except Stopped:
                settling.release()
            except LedgerError:  # away for longer than anybody waits: the lease runs out, the state is on disk
                run.abandon()
                raise
            except Exception as error:  # one bad cell never stops the others
                failure = diagnose(error)
                settling.fail(failure, self._home, self._after_memory(cell, claim, failure))
                self._after_failure(failure)
                error.__traceback__ = None  # its frames hold the tensors that did not fit
                self._free_memory()
            else:
                if settling.complete(outcome):
                    self._clean(claim, exchange)

    def _exchange(self, claim: Claim) -> StateExchange | None:
        """Return where the cell's state is left for other machines, None where all workers have one disk."""
        if not self._crew.shares:
            return None
        return StateExchange(self._crew.tracking_uri, self._study.name, claim.run_key)

    def _attempt(
        self, cell: Cell, claim: Claim, run: TrackedRun, lease: LeaseKeeper, exchange: StateExchange | None
    ) -> Attempt:
        """Gather what training needs to know of lease, disk and run."""

        def stopped() -> bool:
            return self._stop.is_set() or lease.stop is not None

        def on_epoch(result: EpochResult) -> None:
            self._emit(EpochDone.of(cell.id, cell.name, cell.recipe.epochs, result))
            self._tell_pending(run)

        config, settings = self._config, self._crew.settings
        folder = self._home.make(self._home.work / claim.run_key)
        guard = DiskGuard(
            folder, settings.min_free_bytes, stopped, lambda reason: self._emit(WorkerHeld(config.name, reason))
        )
        return Attempt(
            number=claim.attempt,
            last_epoch=claim.last_epoch,
            micro_batches=claim.micro_batches,
            accelerate=settings.accelerate,
            keep=settings.keep,
            keeping=Keeping(
                folder=folder,
                ensure=lambda: self._patiently(lease.ensure),
                guard=guard,
                exchange=exchange,
                share_seconds=settings.share_seconds,
                say=lambda text: self._emit(Notice(f"{cell.name}: {text}")),
            ),
            stop=stopped,
            durable=lease.durable,
            on_resume=lambda done, origin: self._emit(
                CellResumed(cell.id, cell.name, done, cell.recipe.epochs, origin)
            ),
            on_epoch=on_epoch,
        )

    def _after_failure(self, failure: Failure) -> None:
        """Use a device no more that failed, and let no other worker use it."""
        if failure.failure_class == "device":
            place = self._config.device_place
            reason = f"{failure.message} (on {socket.gethostname()})"
            self._patiently(lambda: self._ledger.devices.set_aside(place, reason))
            self._leave("device")

    def _free_memory(self) -> None:
        self._bench.forget()
        give_back_memory(self._device)

    def _after_memory(self, cell: Cell, claim: Claim, failure: Failure) -> int | None:
        """Say how the next attempt can do with less memory: with fewer neighbours, else in smaller parts."""
        if failure.failure_class != "out-of-memory":
            return None
        if self._config.shares_device:
            self._leave("crowded")
            return None
        return min(claim.micro_batches * 2, MAX_MICRO_BATCHES, max(1, cell.recipe.batch_size // 2))

    def _leave(self, why: Literal["device", "crowded"]) -> None:
        self._leaves = True
        self._emit(WorkerLeft(self._config.name, str(self._device), why))

    def _clean(self, claim: Claim, exchange: StateExchange | None) -> None:
        """Remove the training state of a cell that is complete."""
        shutil.rmtree(self._home.work / claim.run_key, ignore_errors=True)
        if exchange is not None:
            exchange.drop()
        reach("cleaned")

    def _tell_pending(self, run: TrackedRun) -> None:
        """Tell when results begin to wait for MLflow, how many do, and when they have arrived."""
        if run.pending or self._away:
            self._emit(MlflowAway(self._config.name, run.pending))
        self._away = run.pending > 0
