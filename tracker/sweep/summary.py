"""How a sweep ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tracker.ledger.rows import CellRow
from tracker.sweep.events import CellDone, CellFailed, Event


@dataclass
class Summary:
    """How a sweep ended.

    Args:
        url: where the runs are shown, as long as the server stays.
        ran: cells completed in it.
        failed: cells that failed for good in it.
        interrupted: it was stopped before its end.
        expired: its deadline came before its end.
        paused: why the study is paused, None where it is not.
        failures: every failed cell of the study, of this sweep or an earlier one.
        left: cells of the study that wait, unfinished.
        cancelled: cells that were cancelled.
        elsewhere: cells that other sweeps of the study are working on.
    """

    url: str = ""
    ran: int = 0
    failed: list[CellFailed] = field(default_factory=list)
    interrupted: bool = False
    expired: bool = False
    paused: str | None = None
    failures: list[CellRow] = field(default_factory=list)
    left: int = 0
    cancelled: int = 0
    elsewhere: int = 0

    def add(self, event: Event) -> None:
        """Take one event into account."""
        self.ran += isinstance(event, CellDone)
        if isinstance(event, CellFailed) and event.again_in is None:
            self.failed.append(event)

    def count(self, rows: Iterable[CellRow], paused: str | None) -> None:
        """Take the ledger's last word on the study's cells."""
        rows = list(rows)
        self.paused = paused
        self.failures = [row for row in rows if row.state == "FAIL"]
        self.cancelled = sum(row.state == "PRUNED" for row in rows)
        self.elsewhere = sum(row.state == "RUNNING" and not row.expired for row in rows)
        self.left = sum(row.state == "WAITING" or row.expired for row in rows)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do: every cell is complete, cancelled, or in other hands."""
        return not (self.interrupted or self.left or self.failures)
