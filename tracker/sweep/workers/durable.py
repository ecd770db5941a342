"""A cell's training state: on this machine after every epoch, now and then where other machines find it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol

import torch

from tracker.sweep.workers.disk import DiskGuard
from tracker.training.state import TrialState
from tracker.training.statefile import Captured
from tracker.training.store import StateStore
from tracker.vision.models import Classifier

Origin = Literal["this machine", "the artifact store"]

AHEAD_SECONDS = 5.0
"""How far training may be ahead of a write that is under way: a disk that is full, or slow, holds it up."""


class Exchange(Protocol):
    """Where the state of a cell is left for other machines: the artifact store."""

    def fetch(self, folder: Path) -> Sequence[Path]: ...

    def store(self, files: Sequence[Path]) -> bool: ...

    def drop(self) -> bool: ...


@dataclass(frozen=True)
class Keeping:
    """How a worker keeps the state of its cells.

    Args:
        folder: the cell's own.
        ensure: called before each write; raises LeaseLost where the cell is another worker's.
        guard: waits for room on the disk.
        exchange: None where no other machine could go on with the cell.
        share_seconds: how often the state is left there, beside whenever the cell is given back.
        say: told of files that are damaged.
    """

    folder: Path
    ensure: Callable[[], None]
    guard: DiskGuard
    exchange: Exchange | None
    share_seconds: float
    say: Callable[[str], None]


class DurableState:
    """The state of one cell, kept so that a killed trial goes on at its next epoch.

    Writing takes tenths of a second, so it is done by a thread of its own while the next epoch is
    trained; at most one write is under way. An epoch that ends before the write of the one before it
    does not wait: the next write, of the state as it is then, is for all that have ended. If training
    fails before that, they are as if they had not been.

    Args:
        identity: what a file must carry to be this cell's: recipe, dataset and source.
        attempt: which try at the cell this is, from 1.
        expected_epoch: the last durable epoch as the ledger knows it, which may be some seconds old.
    """

    def __init__(
        self,
        keeping: Keeping,
        identity: Mapping[str, str],
        attempt: int,
        expected_epoch: int | None,
        classifier: Classifier,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self._keeping = keeping
        self._store = StateStore(keeping.folder, identity)
        self._classifier = classifier
        self._optimizer = optimizer
        self._shared_at = time.monotonic()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state")
        self._written: Future[None] | None = None
        self._begun = 0.0
        self._waiting: list[Callable[[], None]] = []
        self.origin: Origin = "this machine"
        self.state = self._load(attempt, -1 if expected_epoch is None else expected_epoch)

    def __enter__(self) -> DurableState:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.shutdown()  # what is under way is finished, and its error is not as grave as the block's

    def keep(self, then: Callable[[], None]) -> None:
        """Make the state as it is now, or a later one, durable, and call `then` after that, while training goes on.

        Raises:
            Exception: what went wrong with a write before, or with its `then`.
        """
        self._waiting.append(then)
        busy = self._written is not None and not self._written.done()
        if not busy or time.monotonic() - self._begun >= AHEAD_SECONDS:
            self._begin()

    def settle(self) -> None:
        """Wait until all that `keep` was given is done.

        Raises:
            Exception: what went wrong with it.
        """
        self._finish()
        if self._waiting:
            self._begin()
            self._finish()

    def _begin(self) -> None:
        """Begin to write the state as it is now, when the write before is done."""
        self._finish()
        captured = self._store.capture(self.state, self._classifier, self._optimizer)
        told, self._waiting = self._waiting, []
        self._begun = time.monotonic()
        self._written = self._writer.submit(self._write, captured, told)

    def _finish(self) -> None:
        if self._written is not None:
            written, self._written = self._written, None
            written.result()

    def share(self) -> None:
        """Leave the newest durable state for other machines; a failure does no harm."""
        newest = self._store.newest()
        if self._keeping.exchange is not None and newest is not None:
            self._keeping.exchange.store(self._store.files_of(newest))
            self._shared_at = time.monotonic()

    def _write(self, captured: Captured, told: list[Callable[[], None]]) -> None:
        self._keeping.ensure()
        self._keeping.guard.write(captured.nbytes, lambda: self._store.write(captured))
        for then in told:
            then()
        if time.monotonic() - self._shared_at >= self._keeping.share_seconds:
            self.share()

    def _load(self, attempt: int, expected_epoch: int) -> TrialState:
        found = self._store.load(self._classifier, self._optimizer)
        problems = list(found.problems)
        done = -1 if found.state is None else found.state.position.epoch - 1
        exchange = self._keeping.exchange
        behind = attempt > 1 and (found.state is None or done < expected_epoch)
        if exchange is not None and behind and exchange.fetch(self._keeping.folder):
            here, found = found, self._store.load(self._classifier, self._optimizer)
            if found.state is not None and found.file != here.file:
                self.origin = "the artifact store"
            problems += [problem for problem in found.problems if problem not in problems]
        for problem in problems:
            self._keeping.say(problem)
        if found.state is None:
            if expected_epoch >= 0:
                self._keeping.say(f"no training state is left: starts over, {expected_epoch + 1} epochs are lost")
            return TrialState()
        return found.state
