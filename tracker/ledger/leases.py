"""Cells taken under leases, each by one worker at a time, however many processes there are."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, and_, update

from tracker.ledger.database import Database
from tracker.ledger.queries import (
    change_row,
    expired,
    first_row,
    held_by,
    of_cell,
    of_study,
    read_rows,
    ready,
    seconds_to_next,
)
from tracker.ledger.rows import OBJECTIVE, CellRow, Claim, Orders
from tracker.ledger.studies import read_pause
from tracker.ledger.tables import cells
from tracker.study.errors import LeaseLost
from tracker.study.failures import Failure, RetryPolicy
from tracker.study.faults import reach

if TYPE_CHECKING:
    from tracker.ledger.trials import Trials


class Leases:
    """What is done under a lease; `Ledger.leases`.

    A worker claims a cell, renews the lease while it works, and ends with one of `complete`, `fail`
    and `release`. Each of these raises LeaseLost when the cell is not the worker's any more, and
    then changes nothing.

    Args:
        open_trials: gives Optuna's view, opened at the first call.
        seconds: how long a claim or a renewal holds.
        policy: what becomes of a cell after a failure.
    """

    def __init__(
        self, database: Database, open_trials: Callable[[], Trials], seconds: float, policy: RetryPolicy
    ) -> None:
        self._database = database
        self._open_trials = open_trials
        self._seconds = seconds
        self._policy = policy

    def claim(self, study_name: str, worker: str, exclude: Collection[str] = ()) -> Claim | None:
        """Take the first cell of the grid that waits, else one whose worker was lost.

        A lost one has failed by that; where it was its last attempt, it is closed and the next looked at.

        Args:
            exclude: ids of cells this worker must not take.

        Returns:
            None when no cell can be had now, or the study is paused.
        """
        trials = self._open_trials()
        with self._database.writing() as connection:
            self._database.lock_study(connection, study_name, shared=True)
            if read_pause(connection, study_name) is not None:
                return None
            now = self._database.now(connection)
            row = first_row(connection, study_name, ready(now), now, exclude)
            row = row or self._first_lost(connection, study_name, now, exclude)
            if row is None:
                return None
            expires, run_key = now + timedelta(seconds=self._seconds), row.run_key or _new_key(row.cell_id)
            row = change_row(
                connection,
                row,
                now,
                state="RUNNING",
                worker=worker,
                lease_expires=expires,
                lease_seconds=self._seconds,
                token=row.token + 1,
                attempts=row.attempts + 1,
                not_before=None,
                run_key=run_key,
                started=now,
                finished=None,
            )
            reach("row-changed")
            trials.bring(connection, row)
        return Claim(
            study=study_name,
            cell_id=row.cell_id,
            name=row.name,
            worker=worker,
            token=row.token,
            attempt=row.attempts,
            trial_number=row.trial_number,
            expires=expires,
            run_key=run_key,
            last_epoch=row.last_epoch,
            micro_batches=row.micro_batches,
        )

    def next_in(self, study_name: str, exclude: Collection[str] = ()) -> float | None:
        """Return the seconds until a claim may succeed: 0 if it may now, None if nothing waits or runs.

        None while the study is paused, too: `Ledger.pause_reason` tells the two apart.
        """
        with self._database.reading() as connection:
            if read_pause(connection, study_name) is not None:
                return None
            return seconds_to_next(connection, study_name, self._database.now(connection), exclude)

    def renew(self, claim: Claim, last_epoch: int | None = None) -> Orders:
        """Let the lease run anew, and hear what else there is. May be called from any thread.

        Args:
            last_epoch: the last durable epoch; None leaves what is known.
        """
        with self._database.writing() as connection:
            now = self._database.now(connection)
            expires = now + timedelta(seconds=self._seconds)
            noted = {} if last_epoch is None else {"last_epoch": last_epoch}
            values = {"lease_expires": expires, "lease_seconds": self._seconds, "updated": now, **noted}
            if connection.execute(update(cells).where(_held(claim)).values(values)).rowcount == 0:
                raise _lost(claim)
            return Orders(expires, read_pause(connection, claim.study))

    def set_run(self, claim: Claim, run_id: str) -> None:
        """Note the MLflow run of the cell."""
        with self._database.writing() as connection:
            values = {"run_id": run_id, "updated": self._database.now(connection)}
            if connection.execute(update(cells).where(_held(claim)).values(values)).rowcount == 0:
                raise _lost(claim)

    def complete(self, claim: Claim, metrics: Mapping[str, float], run_id: str | None, seconds: float) -> None:
        """Close the cell as done.

        Args:
            metrics: the run's final metrics, finite; `best_acc` becomes the trial's value.
            run_id: its MLflow run; None keeps what `set_run` noted.
            seconds: wall time of the training.

        Raises:
            ValueError: no `best_acc`, or a metric that is not finite.
        """
        if OBJECTIVE not in metrics or not all(math.isfinite(value) for value in metrics.values()):
            raise ValueError(f"metrics of a complete cell are finite and have {OBJECTIVE}; got {dict(metrics)}")
        plain = {name: float(value) for name, value in metrics.items()}  # JSON knows no numpy scalars
        forgotten = {"failure_class": None, "failure_kind": None, "failure_message": None}

        def done(_row: CellRow, now: datetime) -> dict[str, Any]:
            return {"state": "COMPLETE", "metrics": plain, "seconds": seconds, "finished": now, **forgotten}

        self._settle(claim, done, run_id=run_id)

    def fail(
        self,
        claim: Claim,
        failure: Failure,
        run_id: str | None = None,
        last_epoch: int | None = None,
        micro_batches: int | None = None,
    ) -> float | None:
        """End the attempt as failed: the cell waits again or counts as failed, as the policy has it.

        Args:
            run_id, last_epoch, micro_batches: None leaves what is known.

        Returns:
            Seconds until the next attempt, None where the cell counts as failed.
        """
        row = self._settle(
            claim,
            lambda row, now: self._after(row, failure, now),
            run_id=run_id,
            last_epoch=last_epoch,
            micro_batches=micro_batches,
        )
        return None if row.not_before is None else (row.not_before - row.updated).total_seconds()

    def release(self, claim: Claim, last_epoch: int | None = None) -> None:
        """Give the cell back, unfinished: it waits again, and so does its trial; this is no failure.

        Args:
            last_epoch: the last durable epoch; None leaves what is known.
        """
        self._settle(claim, lambda row, now: {"state": "WAITING", "worker": None}, last_epoch=last_epoch)

    def reclaim_expired(self, study_name: str) -> list[CellRow]:
        """Take back the cells whose lease ran out, as failed by the loss of their worker.

        Returns:
            The rows as they were, with worker and run.
        """
        return self._reclaim(study_name, expired)

    def reclaim_worker(self, study_name: str, worker: str) -> list[CellRow]:
        """Take back a worker's cells at once, because it is known to be dead; return the rows as they were."""
        return self._reclaim(study_name, lambda _: held_by(worker))

    def _reclaim(self, study_name: str, which: Callable[[datetime], ColumnElement[bool]]) -> list[CellRow]:
        """Take back the running cells that `which` picks, given the time."""
        trials = self._open_trials()
        with self._database.writing() as connection:
            self._database.lock_study(connection, study_name, shared=True)
            now = self._database.now(connection)
            lost = read_rows(connection, and_(of_study(study_name), which(now)), now, lock="skip")
            for row in lost:
                values = self._after(row, _lost_worker(row), now)
                changed = change_row(connection, row, now, lease_expires=None, **values)
                reach("row-changed")
                trials.bring(connection, changed)
        return lost

    def _first_lost(
        self, connection: Connection, study: str, now: datetime, exclude: Collection[str]
    ) -> CellRow | None:
        """Return the first cell that a worker was lost with and that has an attempt left; close the ones before it."""
        while (row := first_row(connection, study, expired(now), now, exclude)) is not None:
            changed = change_row(connection, row, now, lease_expires=None, **self._after(row, _lost_worker(row), now))
            if changed.state == "WAITING":
                return changed
            reach("row-changed")
            self._open_trials().bring(connection, changed)
        return None

    def _settle(
        self, claim: Claim, change: Callable[[CellRow, datetime], dict[str, Any]], **noted: str | int | None
    ) -> CellRow:
        """End a claim in one transaction: the row and its trial, or LeaseLost and neither.

        Args:
            change: gives what the row becomes.
            noted: columns that are set too, unless None.
        """
        trials = self._open_trials()
        with self._database.writing() as connection:
            self._database.lock_study(connection, claim.study, shared=True)
            now = self._database.now(connection)
            rows = read_rows(connection, _held(claim), now, lock="wait")
            if not rows:
                raise _lost(claim)
            values = {key: value for key, value in noted.items() if value is not None}
            row = change_row(connection, rows[0], now, lease_expires=None, **values, **change(rows[0], now))
            reach("row-changed")
            trials.bring(connection, row)
        return row

    def _after(self, row: CellRow, failure: Failure, now: datetime) -> dict[str, Any]:
        """Return what becomes of a cell after a failure."""
        failures = row.failures + 1
        values = {
            "failure_class": failure.failure_class,
            "failure_kind": failure.kind,
            "failure_message": failure.message,
            "failures": failures,
        }
        wait = self._policy.wait_after(failure.failure_class, failures)
        if wait is None:
            return {**values, "state": "FAIL", "finished": now}
        return {**values, "state": "WAITING", "worker": None, "not_before": now + timedelta(seconds=wait)}


def _held(claim: Claim) -> ColumnElement[bool]:
    """Match the claim's row while it is the claim's; changed or locked, nobody else can take it."""
    return and_(of_cell(claim.study, claim.cell_id), cells.c.token == claim.token, cells.c.state == "RUNNING")


def _lost(claim: Claim) -> LeaseLost:
    return LeaseLost(
        f"{claim.study}: {claim.name}: {claim.worker} does not hold it any more (attempt {claim.attempt})",
        "nothing to do: whoever holds it now, or the next sweep, runs it",
    )


def _lost_worker(row: CellRow) -> Failure:
    return Failure("lost-worker", "WorkerLost", f"worker {row.worker} died or fell silent")


def _new_key(cell_id: str) -> str:
    """Return a name for a cell's run that no other run has, nor an earlier one of the same cell."""
    return f"{cell_id}-{secrets.token_hex(4)}"
