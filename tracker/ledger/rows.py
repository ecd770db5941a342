"""What the ledger hands out: plain, frozen, without a connection behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from tracker.study.recipe import Scalar

State = Literal["WAITING", "RUNNING", "COMPLETE", "FAIL"]
"""A cell's state, in Optuna's words."""

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
    """

    study: str
    cell_id: str
    name: str
    worker: str
    token: int
    attempt: int
    trial_number: int | None
    expires: datetime


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
        failure_kind: of the last attempt that failed; forgotten at the next claim.
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
    """

    study: str
    cells: int
    waiting: int
    running: int
    lost: int
    complete: int
    failed: int
    last_activity: datetime | None
