"""The workers of one sweep as processes of this machine, and what becomes of the cells of those that die."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

from tracker.ledger.ledger import Ledger
from tracker.study.errors import DeviceError
from tracker.sweep.events import CellStarted, Event, Notice, WorkerEnded, WorkerLeft
from tracker.sweep.executors.interrupt import acting_at, listen_until_stopped, reclaim_workers
from tracker.sweep.executors.placement import Slot
from tracker.sweep.executors.pool import Pool, WorkerProcess
from tracker.sweep.summary import Summary

MAX_STILLBORN = 3
"""Workers that may die in a row before they take a cell: a broken installation would turn round for ever.

Those that die with a cell are bounded by the cell's attempts.
"""

Start = Callable[[Slot, bool], WorkerProcess]
"""Starts a worker in a slot; told whether others share its device."""


class Crew:
    """One worker process a slot while there is work.

    A worker that dies is replaced and its cell waits again. A device that fails is not used any
    more. Where a device has too little memory for its workers, one leaves it.

    Args:
        deadline: instant of `time.monotonic()` at which the workers are asked to stop; None for no limit.
    """

    def __init__(
        self, start: Start, slots: Sequence[Slot], ledger: Ledger, study: str, deadline: float | None = None
    ) -> None:
        self._start = start
        self._slots: dict[str, Slot] = {}
        self._room = list(slots)
        self._again: set[str] = set()
        self._pool = Pool()
        self._ledger = ledger
        self._study = study
        self._stillborn = 0
        self._deadline = deadline
        self._expired = False
        self._told = False
        self._stopping = False
        self._changing = threading.Lock()  # the deadline's thread stops workers; none is started behind its back
        self._workers: dict[str, WorkerProcess] = {}
        for slot in slots:
            self._add(slot)

    def run(self, show: Callable[[Event], None], summary: Summary) -> None:
        """Listen to the workers until all have ended; Ctrl-C asks them to stop, a second one kills them.

        The deadline asks them to stop as the first Ctrl-C does.

        Raises:
            DeviceError: every device has failed.
        """
        try:
            with acting_at(self._deadline, partial(self._stop, expired=True)):
                listen_until_stopped(
                    *(lambda: self._listen(show, summary), self._stop, self._pool.kill), show=show, summary=summary
                )
        finally:
            self._stopping = True
            self._pool.close()
            summary.expired = self._expired
            if summary.interrupted or summary.expired:
                reclaim_workers(self._ledger, self._study, self._pool.names)
        if not self._room:
            raise DeviceError("every device has failed", "see the failures above, and `tracker doctor`")

    def _listen(self, show: Callable[[Event], None], summary: Summary) -> None:
        for event in self._pool.events():
            if self._expired and not self._told:
                self._told = True
                show(Notice("the time is up: cells in progress are kept and given back"))
            summary.add(event)
            if isinstance(event, CellStarted):
                self._stillborn = 0
            elif isinstance(event, WorkerLeft):
                self._make_room(event)
            show(event)
            if isinstance(event, WorkerEnded):
                self._replace(event)

    def _stop(self, expired: bool = False) -> None:
        """Ask every worker to stop, once: it takes a second SIGTERM as a kill.

        The deadline's thread calls this too. It does not touch the pool, which belongs to the one that listens.
        """
        with self._changing:
            if self._stopping:
                return
            self._stopping, self._expired = True, expired
            for worker in self._workers.values():
                worker.process.terminate()

    def _replace(self, event: WorkerEnded) -> None:
        """Take a dead worker's cell back, and start another in its slot where there is still room."""
        slot = self._slots.pop(event.worker)
        with self._changing:
            del self._workers[event.worker]
        died = event.exitcode != 0
        if died:
            # Its lease would run out in a minute; it is known to be dead now.
            self._ledger.leases.reclaim_worker(self._study, event.worker)
            self._stillborn += event.cell_id is None
        may = not self._stopping and slot in self._room and self._stillborn <= MAX_STILLBORN
        if may and (died or event.worker in self._again):
            self._add(slot)

    def _make_room(self, event: WorkerLeft) -> None:
        """Give up a failed device, or the slot of a worker that was one too many on its device."""
        slot = self._slots[event.worker]
        if event.why == "device":
            self._room = [other for other in self._room if other.device != slot.device]
        elif any(other.device == slot.device for other in self._room if other != slot):
            self._room.remove(slot)
        else:  # it is alone by now: another in its place will not look for neighbours to blame
            self._again.add(event.worker)

    def _add(self, slot: Slot) -> None:
        shared = any(other.device == slot.device for other in self._room if other != slot)
        with self._changing:
            if self._stopping:
                return
            worker = self._start(slot, shared)
            self._slots[worker.name] = slot
            self._workers[worker.name] = worker
            self._pool.add(worker)
