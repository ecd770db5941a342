"""How an attempt at a cell ends: its MLflow run first, then the ledger, whose word counts."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from tracker.ledger.ledger import Ledger
from tracker.ledger.rows import Claim
from tracker.study.errors import LeaseLost
from tracker.study.failures import Failure
from tracker.study.faults import reach
from tracker.study.home import Home
from tracker.study.study import Cell
from tracker.sweep.events import CellDone, CellFailed, CellReleased, Event, Notice
from tracker.sweep.workers.cell import Outcome
from tracker.sweep.workers.keeper import LeaseKeeper
from tracker.sweep.workers.patience import Patience
from tracker.tracking.run import TrackedRun


class Settling:
    """Ends one attempt. Each method closes the run and says whether the ledger took it: another worker's right to it
    comes first.

    Args:
        patiently: waits for a ledger that is locked or away.
        emit: told how the cell ended.
    """

    def __init__(
        self,
        ledger: Ledger,
        patiently: Patience,
        emit: Callable[[Event], None],
        cell: Cell,
        claim: Claim,
        run: TrackedRun,
        lease: LeaseKeeper,
    ) -> None:
        self._ledger = ledger
        self._patiently = patiently
        self._emit = emit
        self._cell = cell
        self._claim = claim
        self._run = run
        self._lease = lease

    def complete(self, outcome: Outcome) -> bool:
        """Close the cell as done."""
        self._run.finish("FINISHED")
        reach("run-finished")
        metrics, seconds, run_id = outcome.metrics, outcome.seconds, self._run.run_id
        settled = self._settle(lambda: self._ledger.leases.complete(self._claim, metrics, run_id, seconds))
        if settled:
            reach("settled")
            self._emit(CellDone(self._cell.id, self._cell.name, metrics, seconds))
        return settled

    def release(self) -> bool:
        """Give the cell back, unfinished; it goes on where it stands."""
        why = self._lease.stop or "the worker was asked to stop"
        self._run.finish("KILLED", note=f"Interrupted: {why}. It goes on where it stands.")
        settled = self._settle(lambda: self._ledger.leases.release(self._claim, self._lease.last_epoch))
        if settled:
            self._emit(CellReleased(self._cell.id, self._cell.name, why))
        return settled

    def fail(self, failure: Failure, home: Home, micro_batches: int | None) -> bool:
        """End the attempt as failed; called while its exception is being handled.

        Args:
            micro_batches: what the next attempt should try; None leaves it.
        """
        with home.scratch("traceback") as folder:  # an artifact, where a person debugging looks for it
            path = folder / "traceback.txt"
            path.write_text(traceback.format_exc(), encoding="utf-8")
            self._run.log_file(path)
        self._run.finish("FAILED", note=f"Failed ({failure.failure_class}): {failure.message}")
        waits: list[float | None] = []

        def write() -> None:
            last_epoch = self._lease.last_epoch
            waits.append(self._ledger.leases.fail(self._claim, failure, self._run.run_id, last_epoch, micro_batches))

        settled = self._settle(write)
        if settled:
            self._emit(
                CellFailed(
                    *(self._cell.id, self._cell.name, failure.failure_class, failure.kind, failure.message),
                    again_in=waits[-1],
                )
            )
        return settled

    def give_up(self) -> None:
        """Leave a cell that is not this worker's any more; only a cancelled one's run is still ours to close."""
        if self._patiently(lambda: self._ledger.state(self._claim.study, self._cell.id)) == "PRUNED":
            self._run.finish("KILLED", note="Cancelled.")
            self._emit(CellReleased(self._cell.id, self._cell.name, "cancelled"))
        else:
            self._run.abandon()
            self._tell_lost()

    def _settle(self, write: Callable[[], object]) -> bool:
        try:
            self._patiently(write)
        except LeaseLost:
            self._tell_lost()
            return False
        return True

    def _tell_lost(self) -> None:
        text = "the lease ran out and the cell is another worker's; this attempt does not count"
        self._emit(Notice(f"{self._cell.name}: {text}"))
