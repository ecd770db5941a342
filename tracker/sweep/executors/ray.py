"""The workers of one sweep on a Ray cluster: as many as there is room for, while there is work."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

from tracker.ledger.ledger import Ledger
from tracker.study.errors import DeviceError, LedgerError, TrackerError, UsageError
from tracker.study.study import Study
from tracker.sweep.events import (
    CellDone,
    CellFailed,
    CellReleased,
    CellStarted,
    Event,
    Notice,
    WorkerEnded,
    WorkerLeft,
)
from tracker.sweep.executors.interrupt import listen_until_stopped, reclaim_workers
from tracker.sweep.executors.local import MAX_STILLBORN
from tracker.sweep.executors.ray_cluster import Cluster, Gone, Share, connected, find_share, require_ray
from tracker.sweep.executors.ray_hands import Hand, HeldBack
from tracker.sweep.executors.ray_worker import News, Whereabouts, passed_on
from tracker.sweep.executors.watch import LedgerWatch
from tracker.sweep.options import SweepOptions
from tracker.sweep.summary import Summary
from tracker.sweep.workers.config import CrewConfig, WorkerConfig

LOOK_SECONDS = 2.0
"""How often the sweep looks how much room and work there is."""

ASK_AT_ONCE = 64
"""Workers asked for at a time; more are when these run."""


class RayCrew:
    """Workers wherever the cluster has room, each an actor with its share of a GPU, or a CPU core.

    A worker that is lost with its process or its node gives its cell back at once, and another is
    started where there is room. When all that were asked for run, more are: as many as fit, and one
    that does not, so that a cluster that can grow does. A device that failed, or has too little
    memory for one more worker, is held by its last worker, so that Ray puts no other there.

    A machine other than this one has its home at the same path, unless TRACKER_HOME is set there.

    Raises:
        TrackerError: Ray is not installed.
        UsageError: one GPU was asked for by its number, which means nothing to a cluster.
    """

    _cluster: Cluster
    _share: Share
    _show: Callable[[Event], None]
    _summary: Summary

    def __init__(self, study: Study, crew: CrewConfig, options: SweepOptions, ledger: Ledger) -> None:
        require_ray()
        if options.device.startswith("cuda:"):
            raise UsageError(f"--device {options.device}: Ray chooses among the GPUs", "--device cuda")
        self._study = study
        self._crew = crew
        self._options = options
        self._ledger = ledger
        self._numbers = count(1)
        self._names: list[str] = []
        self._hands: dict[str, Hand] = {}
        self._held = HeldBack(options.trials_per_device)
        self._lost: set[str] = set()
        self._unfit: set[str] = set()
        self._aside: set[str] = set()
        self._waiting = 0
        self._stillborn = 0
        self._stopping = False
        self._watch = LedgerWatch(ledger, study)

    def run(self, show: Callable[[Event], None], summary: Summary) -> None:
        """Work until no cell waits any more; Ctrl-C asks the workers to stop, a second one kills them.

        Raises:
            TrackerError: there is no such cluster, or its machines do not reach or have what they need.
            DeviceError: every device has failed.
        """
        self._show, self._summary = show, summary
        with connected(self._options.address) as cluster:
            self._cluster, self._share = cluster, self._find_share(cluster)
            try:
                listen_until_stopped(self._listen, self._stop, self._kill, show, summary)
            finally:
                self._kill()
        if summary.interrupted:
            reclaim_workers(self._ledger, self._study.name, self._names)

    def _find_share(self, cluster: Cluster) -> Share:
        return find_share(
            *(self._options.device, self._options.trials_per_device, self._crew.ledger_url, self._crew.tracking_uri),
            here=cluster.address,
            machines=cluster.machines(),
            gpus=cluster.total("GPU"),
        )

    def _listen(self) -> None:
        """Listen to the workers until all have ended and no more are needed."""
        look_at = 0.0
        while True:
            now = time.monotonic()
            if now >= look_at:
                self._look()
                look_at = now + LOOK_SECONDS
            if not (self._hands or self._waiting):
                return
            by_reply = {hand.reply: hand for hand in self._hands.values()}
            for reply in self._cluster.wait(list(by_reply), LOOK_SECONDS):
                hand = by_reply[reply]
                self._take(hand)
                if hand.name not in self._hands:
                    look_at = 0.0

    def _take(self, hand: Hand) -> None:
        """Take a worker's reply."""
        try:
            reply = self._cluster.get(hand.reply)
        except Gone as gone:
            self._show(Notice(f"worker {hand.name} was lost: {gone}"))
            self._drop(hand, died=True)
            return
        if isinstance(reply, Whereabouts):
            self._begin(hand, reply)
        else:
            self._hear(hand, reply)

    def _look(self) -> None:
        """Take lost workers' cells back, tell what others did, and follow work and room up and down.

        Raises:
            LedgerError: the trial database is away, and so are all workers.
            TrackerError: there is work, but nowhere in the cluster.
        """
        try:
            lost = sorted(self._lost)
            for name in lost:
                self._ledger.leases.reclaim_worker(self._study.name, name)
                self._lost.remove(name)
            for event in self._watch.others(at_once=bool(lost)):
                self._show(event)
            counts = self._ledger.counts(self._study.name)
            self._aside = {device.place for device in self._ledger.devices.aside()}
        except LedgerError:
            if not self._hands:
                raise
            return  # the workers wait for it too
        for hand in self._held.let_go(self._aside):
            self._cluster.kill(hand.actor)
        may = not (self._stopping or counts.paused or self._stillborn > MAX_STILLBORN)
        self._waiting = counts.waiting if may else 0
        asked = [hand for hand in self._hands.values() if hand.where is None]
        if self._waiting == 0:
            for hand in asked:
                self._drop(hand)
            return
        if len(asked) == len(self._hands):
            self._see_room()
        idle = sum(hand.cell_id is None for hand in self._hands.values())
        more = self._waiting - idle
        if self._options.workers is not None:
            more = min(more, self._options.workers - len(self._hands))
        if asked or more <= 0:
            return
        room = self._cluster.room(self._share)
        if not (room or self._hands):
            self._show(Notice(f"waiting for the cluster to have room: {self._share.amount:g} {self._share.resource}"))
        for _ in range(min(more, max(1, room), ASK_AT_ONCE)):
            self._ask()

    def _see_room(self) -> None:
        """See that there is a place left where a worker could be.

        Raises:
            DeviceError: every device has failed.
            TrackerError: no machine has what the cells need.
        """
        if self._held.hold_all(self._share, self._cluster.total(self._share.resource)):
            raise DeviceError("every device has failed", "see the failures above, and `tracker doctor`")
        if self._unfit and self._cluster.nodes().keys() <= self._unfit:
            raise TrackerError(
                "no machine of the cluster has what the cells need",
                "see above what they lack; `tracker doctor --study` on one of them lists it",
            )

    def _ask(self) -> None:
        name = f"{socket.gethostname()}-{os.getpid()}-ray{next(self._numbers)}"
        actor = self._cluster.ask_for(self._share, self._unfit)
        self._names.append(name)
        self._hands[name] = Hand(name, actor, actor.where.remote())

    def _begin(self, hand: Hand, where: Whereabouts) -> None:
        """Let a worker take cells where Ray has put it."""
        hand.where = where
        if where.place in self._aside:
            self._show(Notice(f"{where.place} is set aside after failing; `tracker retry --device` takes it back"))
            self._hold(hand)
            return
        here = where.address == self._cluster.address
        on_gpu = self._share.resource == "GPU"
        crew = self._crew
        if not here and where.home is not None:
            crew = replace(crew, home=Path(where.home).expanduser())
        config = WorkerConfig(
            name=hand.name,
            crew=crew,
            device="cuda:0" if on_gpu else "cpu",  # Ray shows a worker its own GPU alone
            device_place=where.place,
            threads=self._cluster.threads(where.node, self._share),
            shares_device=on_gpu and self._held.free_at(where.place) > 1,
        )
        self._watch.own.add(hand.name)
        hand.actor.run.remote(config, passed_on(), not here)
        hand.reply = hand.actor.hear.remote()

    def _hear(self, hand: Hand, news: News) -> None:
        """Take note of what a worker says, and of its end."""
        if not news.ended:
            hand.reply = hand.actor.hear.remote()
        for event in news.events:
            self._summary.add(event)
            if isinstance(event, CellStarted):
                self._stillborn = 0
                hand.cell_id = event.cell_id
                self._watch.told.add(event.cell_id)
            elif isinstance(event, CellDone | CellFailed | CellReleased):
                hand.cell_id = None
                self._watch.told.add(event.cell_id)
            elif isinstance(event, WorkerLeft):
                hand.left = event
            self._show(event)
        if not news.ended:
            return
        self._show(WorkerEnded(hand.name, int(news.failed), hand.cell_id))
        where = hand.where
        assert where is not None  # only a worker that was begun has anything to say
        if hand.left is not None and (hand.left.why == "device" or self._held.free_at(where.place) > 1):
            self._hold(hand)
            return
        if news.unfit:
            self._unfit.add(where.node)
        self._drop(hand, died=news.failed and not news.unfit)

    def _hold(self, hand: Hand) -> None:
        """Keep a worker that takes no more cells, and with it what it has of its device."""
        self._held.add(self._hands.pop(hand.name))

    def _drop(self, hand: Hand, died: bool = False) -> None:
        """End a worker for good, or take back that it was asked for.

        Args:
            died: its cell, if it has one, is still its own in the ledger.
        """
        self._cluster.kill(hand.actor)
        del self._hands[hand.name]
        if died:
            self._lost.add(hand.name)
            self._stillborn += hand.cell_id is None
            self._watch.own.discard(hand.name)
            self._watch.told.discard(hand.cell_id or "")

    def _stop(self) -> None:
        """Ask every worker to finish its step, give its cell back and end."""
        self._stopping = True
        for hand in list(self._hands.values()):
            if hand.where is None:
                self._drop(hand)
            else:
                hand.actor.stop.remote()

    def _kill(self) -> None:
        """End every worker at once."""
        for hand in [*self._hands.values(), *self._held.clear()]:
            self._cluster.kill(hand.actor)
        self._hands.clear()
