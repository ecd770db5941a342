"""A study followed through the ledger: what happened to cells whose workers cannot be heard."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from tracker.ledger.ledger import Ledger
from tracker.ledger.rows import CellRow, State
from tracker.study.study import Study
from tracker.sweep.events import CellDone, CellFailed, CellReleased, CellStarted

CellEvent = CellStarted | CellDone | CellFailed | CellReleased

TIME_SHARE = 0.1
"""The part of its time that a sweep may spend on reading the whole table of cells, which may be long."""


class _Seen(NamedTuple):
    """What is remembered of a row: little, since a grid may have very many."""

    state: State
    worker: str | None
    attempts: int
    failures: int


class LedgerWatch:
    """Turns changes of a study's cells into the events their workers would have told.

    Only beginnings and ends: the ledger knows no accuracy of a cell that runs. What happened twice
    to a cell between two looks is told once, as it ended.

    Attributes:
        own: workers that tell of their own cells.
        told: cells of which one of them has told since the last look.
    """

    def __init__(self, ledger: Ledger, study: Study) -> None:
        self.own: set[str] = set()
        self.told: set[str] = set()
        self._ledger = ledger
        self._study = study.name
        self._epochs = {cell.id: cell.recipe.epochs for cell in study.cells}
        self._seen: dict[str, _Seen] = {}
        self._not_before = 0.0

    def poll(self) -> list[CellEvent]:
        """Return what has happened since the last look; at the first, which cells are being worked on.

        Raises:
            LedgerError: the trial database cannot be read; the next look tells what this one missed.
        """
        return [event for row in self._ledger.rows(self._study) for event in self._look_at(row)]

    def others(self, at_once: bool = False) -> list[CellEvent]:
        """Return what has happened to cells that no worker of `own` has told of; nothing where it is too early.

        Args:
            at_once: it is known that there is something to see.

        Raises:
            LedgerError: the trial database cannot be read.
        """
        started = time.monotonic()
        if started < self._not_before and not at_once:
            return []
        events = [event for event in self.poll() if event.cell_id not in self.told]
        self.told.clear()
        now = time.monotonic()
        self._not_before = now + (now - started) / TIME_SHARE
        return events

    def _look_at(self, row: CellRow) -> Iterator[CellEvent]:
        now = _Seen(row.state, row.worker, row.attempts, row.failures)
        before = self._seen.get(row.cell_id)
        if before == now:
            return
        self._seen[row.cell_id] = now
        if before is None:
            before = now if now.state != "RUNNING" else now._replace(state="WAITING", attempts=now.attempts - 1)
        if (now.worker or before.worker) not in self.own:
            yield from self._changes(row, before)

    def _changes(self, row: CellRow, before: _Seen) -> Iterator[CellEvent]:
        """Say what a row has become, the end of an attempt before the start of the next."""
        if row.state == "COMPLETE" and before.state != "COMPLETE":
            yield CellDone(row.cell_id, row.name, dict(row.metrics or {}), row.seconds or 0.0)
        elif row.failures > before.failures:
            yield _failure(row)
        elif before.state == "RUNNING" and (row.state != "RUNNING" or row.attempts > before.attempts):
            why = "cancelled" if row.state == "PRUNED" else f"by worker {before.worker}"
            yield CellReleased(row.cell_id, row.name, why)
        if row.state == "RUNNING" and row.attempts > before.attempts:
            epochs = self._epochs.get(row.cell_id, 0)
            yield CellStarted(row.worker or "", row.cell_id, row.name, epochs, row.attempts)


def _failure(row: CellRow) -> CellFailed:
    again_in = None
    if row.state != "FAIL":
        again_in = 0.0 if row.not_before is None else max(0.0, (row.not_before - row.updated).total_seconds())
    return CellFailed(
        row.cell_id,
        row.name,
        row.failure_class or "lost-worker",
        row.failure_kind or "WorkerLost",
        row.failure_message or "",
        again_in,
    )
