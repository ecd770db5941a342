"""Workers that do nothing but ask the ledger: they renew a lease, then claim cells and complete them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from typing import TypeVar

from tracker.ledger.ledger import Ledger
from tracker.ledger.rows import Claim
from tracker.study.errors import LedgerError

NAME = "benchmark"
LEASE_SECONDS = 3600.0
"""No lease may run out while its worker waits for the database."""

RENEWING_SHARE = 4
"""Leases are renewed for this part of the time that cells are claimed for."""

PATIENCE_SECONDS = 900.0
"""How long workers wait for one another."""

NOTICE_SECONDS = 1.0
"""From telling all processes to go on until they do."""

READY = "ready"

RETRY_SECONDS = 1.0
METRICS = {"best_acc": 0.5, "last_acc": 0.5, "best_epoch": 0.0}

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Cycle:
    """One cell claimed and completed: its id, and the times before and after."""

    cell_id: str
    began: float
    ended: float


@dataclass
class Report:
    """What one worker did.

    Attributes:
        renewals: times at which a renewal was done.
        refusals: transactions that waited in vain for another's, and were tried again.
    """

    renewals: list[float] = field(default_factory=list)
    cycles: list[Cycle] = field(default_factory=list)
    refusals: int = 0


class Together:
    """Lets the threads of all processes go on at one moment, which the first process names when all are ready.

    A barrier over 1,000 of them lets the last one go a minute after the first.
    """

    def __init__(self, threads: int, mouth: Connection) -> None:
        self._barrier = threading.Barrier(threads, action=self._agree, timeout=PATIENCE_SECONDS)
        self._mouth = mouth
        self._moment = 0.0
        self.abort = self._barrier.abort

    def _agree(self) -> None:
        self._mouth.send(READY)
        self._moment = self._mouth.recv()

    def wait(self) -> float:
        """Return the moment, when it has come."""
        self._barrier.wait()
        time.sleep(max(0.0, self._moment - time.monotonic()))
        return self._moment


class SimulatedWorker(threading.Thread):
    """Renews a lease, then claims and completes cells, over a ledger of its own, as each real worker has one."""

    def __init__(self, url: str, name: str, opening: threading.Lock, together: Together, seconds: float) -> None:
        super().__init__(name=name, daemon=True)
        self._url = url
        self._opening = opening
        self._together = together
        self._seconds = seconds
        self.report = Report()

    def run(self) -> None:
        """Do each for its time, all workers together; if one fails, all do."""
        try:
            self._work()
        except BaseException:
            self._together.abort()
            raise

    def _work(self) -> None:
        with self._opening:  # as workers are started: not all in one second
            ledger = self._patiently(lambda: Ledger(self._url, LEASE_SECONDS))
            began, claim = time.monotonic(), self._claim(ledger)
        with ledger:
            until = self._together.wait() + self._seconds / RENEWING_SHARE
            while claim is not None and time.monotonic() < until:
                self._patiently(partial(ledger.leases.renew, claim))
                self.report.renewals.append(time.monotonic())
            self._complete(ledger, claim, began)
            until = self._together.wait() + self._seconds
            while (began := time.monotonic()) < until and (claim := self._claim(ledger)) is not None:
                self._complete(ledger, claim, began)

    def _claim(self, ledger: Ledger) -> Claim | None:
        return self._patiently(lambda: ledger.leases.claim(NAME, self.name))

    def _complete(self, ledger: Ledger, claim: Claim | None, began: float) -> None:
        if claim is not None:
            self._patiently(lambda: ledger.leases.complete(claim, METRICS, f"run-{claim.cell_id}", 0.0))
            self.report.cycles.append(Cycle(claim.cell_id, began, time.monotonic()))

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        """Ask until the database has time."""
        while True:
            try:
                return ask()
            except LedgerError as error:
                if not any(word in error.message for word in ("another process", "timeout")):
                    raise
                self.report.refusals += 1
                time.sleep(RETRY_SECONDS)


def drive(url: str, names: Sequence[str], seconds: float, mouth: Connection) -> None:
    """Be a process with a thread for each of the workers; say in the end what they did."""
    opening, together = threading.Lock(), Together(len(names), mouth)
    crew = [SimulatedWorker(url, name, opening, together, seconds) for name in names]
    for worker in crew:
        worker.start()
    for worker in crew:
        worker.join()
    mouth.send([worker.report for worker in crew])


def begin_together(ears: Sequence[Connection]) -> float:
    """Wait until all processes are ready, and return the moment at which they go on."""
    for ear in ears:
        if ear.recv() != READY:
            raise SystemExit("a worker failed, see above")
    moment = time.monotonic() + NOTICE_SECONDS
    for ear in ears:
        ear.send(moment)
    return moment
