"""What the ledger hands out: plain, frozen, without a connection behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from tracker.study.failures import FailureClass
from tracker.study.recipe import Scalar

State = Literal["WAITING", "RUNNING", "COMPLETE", "FAIL", "PRUNED"]
"""A cell's state, in Optuna's words; PRUNED is one that was cancelled."""

OBJECTIVE = "best_acc"
"""The metric that is a trial's value in Optuna."""


@dataclass(frozen=True)
class Claim:
    """The time-limited right of one worker to work on one cell.

    Args:
        token: grows by 1 at each claim of the cell; a write with an older one is refused.
        attempt: which try at the cell this is, counted from 1.
        trial_number: Optuna's number of the cell's trial.
        expires: when the lease runs out unless renewed, by the database's clock.
        run_key: names the cell's MLflow run and its files, the same for each attempt until it is begun anew.
        last_epoch: the last durable epoch of earlier attempts, None where there is none.
        micro_batches: parts a batch is run in, more than 1 after it was too large for the memory.
    """

    study: str
    cell_id: str
    name: str
    worker: str
    token: int
    attempt: int
    trial_number: int | None
    expires: datetime
    run_key: str
    last_epoch: int | None
    micro_batches: int


@dataclass(frozen=True)
class Orders:
    """What a worker learns when it renews its lease.

    Args:
        expires: when the lease runs out now.
        paused: why its study is paused, None where it is not.
    """

    expires: datetime
    paused: str | None


@dataclass(frozen=True)
class CellRow:
    """All the ledger knows about a cell of a study.

    Args:
        point: the axes' values, in the study's order.
        identity: what `cell_id` is the hash of.
        position: place in the grid, from 0.
        in_grid: part of the study's latest definition.
        expired: RUNNING under a lease that ran out: its worker is gone or stuck.
        worker: who works on it, or ended it; None while it waits.
        attempts: claims of the cell so far.
        failure_class: of the last attempt that failed; forgotten when one completes.
        failures: attempts that failed since the cell began, or was last retried.
        not_before: when a cell that waits after a failure may be claimed.
        last_epoch: the last durable epoch, counted from 0.
        lease_seconds: how long a renewal of the current lease holds.
        metrics: the run's final metrics, `best_acc` among them.
        seconds: wall time of the attempt that completed it.
    """

    study: str
    cell_id: str
    name: str
    point: Mapping[str, Scalar]
    identity: Mapping[str, Any]
    position: int
    in_grid: bool
    state: State
    expired: bool
    worker: str | None
    lease_expires: datetime | None
    token: int
    attempts: int
    failure_class: FailureClass | None
    failure_kind: str | None
    failure_message: str | None
    trial_id: int | None
    trial_number: int | None
    run_id: str | None
    metrics: Mapping[str, float] | None
    seconds: float | None
    created: datetime
    updated: datetime
    started: datetime | None
    finished: datetime | None
    failures: int
    not_before: datetime | None
    last_epoch: int | None
    run_key: str | None
    micro_batches: int
    lease_seconds: float | None


@dataclass(frozen=True)
class Enrolled:
    """What became of a study's cells when it was put into the ledger.

    Args:
        new: cells that were not there yet.
        kept: cells that were, with whatever is known about them.
        outside: rows of an earlier definition that are not in the grid any more.
    """

    new: int
    kept: int
    outside: int


@dataclass(frozen=True)
class StudyCounts:
    """How far a study is; the cells of its latest definition.

    Args:
        running: under a lease that holds.
        lost: under a lease that ran out.
        last_activity: when a cell last changed.
        paused: why no cell is handed out, None where they are.
    """

    study: str
    cells: int
    waiting: int
    running: int
    lost: int
    complete: int
    failed: int
    cancelled: int
    last_activity: datetime | None
    paused: str | None


@dataclass(frozen=True)
class AsideDevice:
    """A device that no worker should use.

    Args:
        place: host and device, as `node7/cuda:0`.
        reason: how it failed, one line.
    """

    place: str
    reason: str
    since: datetime
