"""A sweep from enumeration to its last cell."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from rich.console import Console

from tracker.ledger.ledger import Ledger, local_url
from tracker.study.errors import TrackingError, UsageError
from tracker.study.home import Home
from tracker.study.study import Study
from tracker.sweep.events import Event
from tracker.sweep.executors.local import Crew, Start
from tracker.sweep.executors.placement import Slot, hint, lay_out
from tracker.sweep.executors.pool import WorkerProcess, warm_up
from tracker.sweep.options import SweepOptions
from tracker.sweep.plan import Plan, make_plan
from tracker.sweep.preflight import Checked, preflight
from tracker.sweep.pretraining import provide_sources
from tracker.sweep.progress import make_display, say_on
from tracker.sweep.reconcile import reconcile
from tracker.sweep.sizes import sweep_bytes
from tracker.sweep.summary import Summary
from tracker.sweep.workers.config import CrewConfig, WorkerConfig
from tracker.sweep.workers.process import worker_main
from tracker.tracking.events import Status
from tracker.tracking.replay import replay
from tracker.tracking.server.session import revive
from tracker.tracking.writing import StudyTracking
from tracker.training.device import give_back_memory, threads_of
from tracker.vision.progress import Progress, silent


@dataclass(frozen=True)
class Prepared:
    """A sweep that can start: what is left to do, and what preflight found for it.

    Args:
        checked: None where nothing is left to do.
    """

    plan: Plan
    checked: Checked | None


def prepare_sweep(
    study: Study, home: Home, options: SweepOptions, *, say: Callable[[str], None], progress: Progress = silent
) -> Prepared:
    """Enumerate a study and check everything its missing cells need, before any server is started.

    Args:
        say: told what is looked at.
        progress: shows how far packing a dataset is.

    Raises:
        RecipeChanged: the study has results of another recipe.
        PreflightError: something is missing; carries every obstacle.
        UsageError: a deadline for an executor that keeps none.
    """
    if options.executor == "ray":
        if options.deadline is not None:
            raise UsageError("Ray's workers keep no deadline", "--executor local")
        from tracker.sweep.executors.ray_cluster import require_ray  # an extra

        require_ray()
    plan = make_plan(study, home, options.storage, replace=options.replace)
    say(f"study {study.name}: {plan.counts()}")
    if not plan.to_do:
        return Prepared(plan, None)
    if options.executor == "local" and options.workers != 0:
        warm_up()
    checked = preflight(
        *(study, plan.to_do, home),
        device=options.device,
        weights_dir=options.weights_dir,
        disk_bytes=sweep_bytes(plan.to_do, options.workers or options.trials_per_device, options.settings.keep),
        min_free_bytes=options.settings.min_free_bytes,
        say=say,
        progress=progress,
    )
    return Prepared(plan, checked)


def run_sweep(
    prepared: Prepared,
    home: Home,
    uri: str,
    options: SweepOptions,
    *,
    console: Console,
    publish: Callable[[StudyTracking], None],
) -> Summary:
    """Run what is missing of a study.

    Args:
        uri: the MLflow server.
        console: on stderr.
        publish: called with the study's open run when all cells have ended, to put the leaderboard there.

    Raises:
        TrackerError: the ledger or the server cannot be used, or a source cannot be pre-trained.
    """
    study = prepared.plan.study
    with Ledger.open(
        home, options.storage, lease_seconds=options.settings.lease_seconds, policy=options.settings.policy
    ) as ledger:
        ledger.enroll(study, replace=options.replace)
        for sentence in reconcile(study.name, ledger, home, uri):
            say_on(console)(f"mended: {sentence}")
        tracking = StudyTracking(uri, home, study)
        place = tracking.open()
        ledger.set_place(study.name, place.experiment_id, place.run_id)
        say_on(console)(f"the runs: {tracking.url}")
        summary = Summary(url=tracking.url)
        status: Status = "KILLED"
        try:
            if prepared.checked is not None:
                provide_sources(prepared.plan.to_do, home, prepared.checked.device, uri, console)
                give_back_memory(prepared.checked.device)
                crew_config = CrewConfig(
                    document=study.document(),
                    home=home.root,
                    tracking_uri=uri,
                    place=place,
                    ledger_url=options.storage or local_url(home),
                    weights_dir=options.weights_dir,
                    settings=options.settings,
                    shares=options.storage is not None,
                )
                _work(prepared, crew_config, options, ledger, console, summary)
            revive(home, uri)  # a local server that died meanwhile
            replay(home, uri)  # what a killed worker left
            summary.count(ledger.rows(study.name), ledger.pause_reason(study.name))
            try:
                publish(tracking)
            except TrackingError as error:
                kept = f"what MLflow has not got is kept in {home.journal}; the same command again delivers it"
                raise TrackingError(f"the leaderboard cannot be made: {error.message}", kept) from error
            if not (summary.interrupted or summary.paused or (summary.expired and summary.left)):
                status = "FINISHED"
        finally:
            tracking.finish(status)
    return summary


def _work(
    prepared: Prepared,
    crew_config: CrewConfig,
    options: SweepOptions,
    ledger: Ledger,
    console: Console,
    summary: Summary,
) -> None:
    """Let workers run the cells that are left, and show what they do."""
    assert prepared.checked is not None
    study = prepared.plan.study
    to_do = len(prepared.plan.to_do) - len(prepared.plan.running)
    if options.workers == 0:
        return
    if options.deadline is not None and time.monotonic() >= options.deadline:
        summary.expired = True
        return
    run: Callable[[Callable[[Event], None], Summary], None]
    if options.executor == "ray":
        from tracker.sweep.executors.ray import RayCrew  # an extra

        run = RayCrew(study, crew_config, options, ledger).run
    else:
        aside = [device.place for device in ledger.devices.aside()]
        slots = lay_out(
            *(prepared.checked.device, options.device, options.workers, options.trials_per_device), aside=aside
        )[: max(1, to_do)]
        if said := hint(slots):
            say_on(console)(said)
        run = Crew(_starter(crew_config, len(slots)), slots, ledger, study.name, options.deadline).run
    with make_display(console, total=to_do, what="sweep") as display:
        run(display.show, summary)


def _starter(crew_config: CrewConfig, slots: int) -> Start:
    """Return what starts one more worker, pinned to its slot's device and to its share of the cores."""
    threads = threads_of(slots)
    numbers = count(1)

    def start(slot: Slot, shared: bool) -> WorkerProcess:
        config = WorkerConfig(
            name=f"{socket.gethostname()}-{os.getpid()}-{next(numbers)}",
            crew=crew_config,
            device=slot.device,
            device_place=slot.place,
            threads=threads,
            shares_device=shared and slot.device != "cpu",
        )
        return WorkerProcess(config.name, worker_main, config)

    return start
