"""A sweep from enumeration to its last cell."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import torch
from rich.console import Console

from tracker.ledger.ledger import Ledger, local_url
from tracker.ledger.rows import CellRow
from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.study.study import Study
from tracker.sweep.estimate import OTHER_BYTES, checkpoint_bytes
from tracker.sweep.events import CellDone, CellFailed, Event, Notice, WorkerEnded
from tracker.sweep.plan import Plan, make_plan
from tracker.sweep.pool import Pool, WorkerProcess
from tracker.sweep.preflight import Checked, preflight
from tracker.sweep.pretraining import pretrain_tracked
from tracker.sweep.progress import make_display, say_on
from tracker.sweep.sources import jobs_of
from tracker.sweep.worker import WorkerConfig, worker_main
from tracker.tracking.events import Status
from tracker.tracking.journal import replay
from tracker.tracking.writing import StudyPlace, StudyTracking
from tracker.vision.progress import Progress, silent

MAX_REPLACEMENTS = 3
"""Workers replaced in a sweep: enough for a mishap, too few for a broken installation to turn round for ever."""


@dataclass
class Summary:
    """How a sweep ended.

    Args:
        ran: cells completed in it.
        failed: the cells that failed in it.
        interrupted: it was stopped before its end.
        left: cells of the study that are not complete and that nobody works on.
        elsewhere: cells that other sweeps of the study are working on.
    """

    ran: int = 0
    failed: list[CellFailed] = field(default_factory=list)
    interrupted: bool = False
    left: int = 0
    elsewhere: int = 0

    def count(self, rows: Iterable[CellRow]) -> None:
        """Take the ledger's last word on the study's cells."""
        states = ["elsewhere" if row.state == "RUNNING" and not row.expired else row.state for row in rows]
        self.elsewhere = states.count("elsewhere")
        self.left = len(states) - self.elsewhere - states.count("COMPLETE")


@dataclass(frozen=True)
class Prepared:
    """A sweep that can start: what is left to do, and what preflight found for it.

    Args:
        checked: None where nothing is left to do.
    """

    plan: Plan
    checked: Checked | None


def prepare_sweep(
    study: Study,
    home: Home,
    *,
    device: str,
    weights_dir: Path | None,
    say: Callable[[str], None],
    progress: Progress = silent,
) -> Prepared:
    """Enumerate a study and check everything its missing cells need, before any server is started.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        say: told what is looked at.
        progress: shows how far packing a dataset is.

    Raises:
        PreflightError: something is missing; carries every obstacle.
    """
    plan = make_plan(study, home)
    say(f"study {study.name}: {len(study.cells)} cells, {len(plan.done)} done, {len(plan.to_do)} to do")
    if not plan.to_do:
        return Prepared(plan, None)
    size = sum(checkpoint_bytes(cell.recipe.model) + OTHER_BYTES for cell in plan.to_do)
    checked = preflight(
        *(study, plan.to_do, home),
        device=device,
        weights_dir=weights_dir,
        disk_bytes=size,
        say=say,
        progress=progress,
    )
    return Prepared(plan, checked)


def run_sweep(
    prepared: Prepared,
    home: Home,
    uri: str,
    *,
    device: str,
    workers: int,
    weights_dir: Path | None,
    console: Console,
    publish: Callable[[StudyTracking], None],
) -> Summary:
    """Run what is missing of a study.

    Args:
        uri: the MLflow server.
        device: as it was asked for; on plain `cuda` or `auto` workers are spread over the devices.
        workers: processes at once.
        console: on stderr.
        publish: called with the study's open run when all cells have ended, to put the leaderboard there.

    Raises:
        TrackerError: the ledger or the server cannot be used, or a source cannot be pre-trained.
    """
    with Ledger.local(home) as ledger:
        ledger.enroll(prepared.plan.study)
        mend(prepared.plan.study, ledger, home, uri, say_on(console))
        tracking = StudyTracking(uri, home, prepared.plan.study)
        place = tracking.open()
        summary = Summary()
        to_do = len(prepared.plan.to_do) - len(prepared.plan.running)
        status: Status = "KILLED"
        try:
            if prepared.checked is not None:
                _pretrain_sources(prepared.plan, home, prepared.checked.device, uri, console)
                start = _starter(prepared, home, uri, place, device, workers, weights_dir)
                crew = Crew(start, min(workers, to_do), ledger, prepared.plan.study.name)
                with make_display(console, total=to_do, workers=workers, what="sweep") as display:
                    crew.run(display.show, summary)
                replay(home, uri)  # what a killed worker left
            summary.count(ledger.rows(prepared.plan.study.name))
            try:
                publish(tracking)
            except TrackingError as error:
                kept = f"what MLflow has not got is kept in {home.journal}; the same command again delivers it"
                raise TrackingError(f"the leaderboard cannot be made: {error.message}", kept) from error
            if not summary.interrupted:
                status = "FINISHED"
        finally:
            tracking.finish(status)
    return summary


def _pretrain_sources(plan: Plan, home: Home, device: torch.device, uri: str, console: Console) -> None:
    """Make the sources that the cells to do start from and that are not here yet."""
    for job in jobs_of(plan.to_do):
        if not job.path(home).is_file():
            with make_display(console, total=1, workers=1, what=f"source {job.name}") as display:
                pretrain_tracked(job, home, device, uri, display.show)


class Crew:
    """The workers of one sweep, and what becomes of the cells of those that die."""

    def __init__(self, start: Callable[[], WorkerProcess], workers: int, ledger: Ledger, study: str) -> None:
        self._pool = Pool(start, workers, max_replacements=MAX_REPLACEMENTS)
        self._ledger = ledger
        self._study = study

    def run(self, show: Callable[[Event], None], summary: Summary) -> None:
        """Listen to the workers until all have ended; Ctrl-C asks them to stop, a second one kills them."""
        try:
            try:
                self._listen(show, summary)
            except KeyboardInterrupt:
                summary.interrupted = True
                show(Notice("stopping: cells in progress are given back (Ctrl-C again: at once)"))
                self._pool.stop()
                self._listen(show, summary)
        except KeyboardInterrupt:
            show(Notice("stopped at once; the next sweep mends what was left"))
            self._pool.kill()
        finally:
            self._pool.close()
            if summary.interrupted:  # whoever had to be killed could not give its cell back
                for worker in self._pool.names:
                    self._ledger.reclaim_worker(self._study, worker)

    def _listen(self, show: Callable[[Event], None], summary: Summary) -> None:
        for event in self._pool.events():
            if isinstance(event, CellDone):
                summary.ran += 1
            elif isinstance(event, CellFailed):
                summary.failed.append(event)
            elif isinstance(event, WorkerEnded) and event.exitcode != 0:
                # Its lease would run out in a minute; it is known to be dead now.
                self._ledger.reclaim_worker(self._study, event.worker)
            show(event)


def mend(study: Study, ledger: Ledger, home: Home, uri: str, say: Callable[[str], None]) -> None:
    """Bring ledger, Optuna and MLflow together after whatever happened to earlier sweeps.

    Args:
        say: told each thing that was mended, and what cannot be.
    """
    for row in ledger.reclaim_expired(study.name):
        say(f"mended: {row.name} waits again; worker {row.worker} is gone")
    for sentence in ledger.mend(study.name):
        say(f"mended: {sentence}")
    ledger.retry_failed(study.name)
    replayed = replay(home, uri)
    if replayed.delivered:
        say(f"mended: {len(replayed.delivered)} runs that an earlier process left are delivered to MLflow")
    for problem in replayed.problems:
        say(f"warning: {problem}")


def _starter(
    prepared: Prepared, home: Home, uri: str, place: StudyPlace, asked: str, workers: int, weights_dir: Path | None
) -> Callable[[], WorkerProcess]:
    """Return what starts one more worker, pinned to a device and to its share of the cores."""
    assert prepared.checked is not None
    devices = [str(prepared.checked.device)]
    if prepared.checked.device.type == "cuda" and ":" not in asked:
        devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    document = prepared.plan.study.document()
    numbers = count(1)

    def start() -> WorkerProcess:
        number = next(numbers)
        config = WorkerConfig(
            name=f"{socket.gethostname()}-{os.getpid()}-{number}",
            document=document,
            home=home.root,
            device=devices[(number - 1) % len(devices)],
            threads=threads,
            tracking_uri=uri,
            place=place,
            ledger_url=local_url(home),
            weights_dir=weights_dir,
        )
        return WorkerProcess(config.name, worker_main, config)

    return start
