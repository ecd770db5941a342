"""A lease kept alive from a thread of its own, and what the ledger has to say meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from tracker.ledger.leases import Leases
from tracker.ledger.rows import Claim
from tracker.study.errors import LeaseLost, LedgerError

BEAT_SECONDS = 10.0
"""The longest time between two renewals: how soon a pause or a cancellation is heard of."""

CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""A clock that nobody sets, and that goes on while the machine sleeps, where there is one."""


class LeaseKeeper:
    """Renews a lease while a block runs, so that neither a long step nor a blocked device loses it.

    The thread ends with the process, so a dead one loses its lease. A process that was stopped for
    longer than the lease (SIGSTOP, a sleeping laptop) is held up at `ensure` before it writes.

    Args:
        seconds: how long a renewal holds.

    Attributes:
        stop: why the attempt should end, None while it should not.
        lost: the cell is not this worker's any more.
    """

    def __init__(self, leases: Leases, claim: Claim, seconds: float) -> None:
        self._leases = leases
        self._claim = claim
        self._seconds = seconds
        self._renewed = time.clock_gettime(CLOCK)
        self._last_epoch = claim.last_epoch
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._beat, name=f"lease-{claim.cell_id}", daemon=True)
        self.stop: str | None = None
        self.lost = False

    def __enter__(self) -> LeaseKeeper:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    @property
    def last_epoch(self) -> int | None:
        """The last epoch that is durable, counted from 0."""
        return self._last_epoch

    def durable(self, epoch: int) -> None:
        """Take note that `epoch` is durable; the next renewal tells the ledger."""
        self._last_epoch = epoch

    def ensure(self) -> None:
        """See that the lease holds before something is written.

        Raises:
            LeaseLost: it does not; nothing must be written.
        """
        if self.lost or time.clock_gettime(CLOCK) - self._renewed >= self._seconds:
            self._renew()

    def _beat(self) -> None:
        wait: Callable[[float], bool] = self._over.wait
        while not wait(min(self._seconds / 3, BEAT_SECONDS)):
            try:
                self._renew()
            except LeaseLost:
                return
            except LedgerError:
                continue  # the database is busy or away; the lease has further tries left

    def _renew(self) -> None:
        with self._lock:
            now = time.clock_gettime(CLOCK)
            try:
                orders = self._leases.renew(self._claim, self._last_epoch)
            except LeaseLost:
                self.lost = True
                self.stop = self.stop or "the cell is not this worker's any more"
                raise
            self._renewed = now
            if orders.paused is not None:
                self.stop = f"the study is paused: {orders.paused}"
