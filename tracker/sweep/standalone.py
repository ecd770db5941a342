"""A worker that no sweep started: by hand, by SLURM, by Kubernetes, on any machine."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from tracker.ledger.ledger import Ledger, local_url
from tracker.ledger.opening import ledger_with
from tracker.study.errors import DeviceError, PreflightError, SourceMissing, TrackerError, TrackingError, UsageError
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.study import Cell, Study
from tracker.sweep.executors.placement import device_place, threads_of
from tracker.sweep.preflight import preflight
from tracker.sweep.pretraining import obtain_source
from tracker.sweep.progress import make_display, say_on
from tracker.sweep.sizes import sweep_bytes
from tracker.sweep.sources import jobs_of
from tracker.sweep.workers.config import CellSettings, WorkerConfig
from tracker.sweep.workers.process import stop_on_terminate, work
from tracker.tracking.replay import replay
from tracker.tracking.server import URI_VARIABLE, tracking_session
from tracker.tracking.writing import StudyPlace
from tracker.vision.progress import Progress, silent


def run_standalone(
    study_name: str,
    home: Home,
    storage: str | None,
    *,
    device: str | None,
    weights_dir: Path | None,
    settings: CellSettings,
    burst: bool,
    max_cells: int | None,
    max_idle: float,
    console: Console,
    progress: Progress = silent,
) -> bool:
    """Run cells of a study that is in the trial database; say whether it ended by itself, not by a signal.

    Args:
        device: None for the study's.
        console: on stderr.

    Raises:
        UsageError: the database has no such study.
        PreflightError: this machine lacks something that the cells need; none was taken.
        DeviceError: the device has failed before and is set aside.
    """
    say = say_on(console)
    with ledger_with(study_name, home, storage) as ledger:
        study, to_do = _what_is_left(ledger, study_name)
        if not to_do:
            say(f"study {study_name}: every cell is settled")
            return True
        place = ledger.place(study_name)
        aside = {failed.place: failed.reason for failed in ledger.devices_aside()}
    with _session(home, say) as uri:
        _obtain_sources(study, to_do, home, uri)
        checked = preflight(
            *(study, to_do, home),
            device=device or study.device,
            weights_dir=weights_dir,
            disk_bytes=sweep_bytes(to_do[:1], 1, settings.keep),
            min_free_bytes=settings.min_free_bytes,
            say=say,
            progress=progress,
        )
        here = device_place(str(checked.device))
        if here in aside:
            raise DeviceError(
                f"{here} is set aside: {aside[here]}",
                f"once it is mended: tracker retry --study {study_name} --device {here}",
            )
        config = WorkerConfig(
            name=f"{socket.gethostname()}-{os.getpid()}",
            document=study.document(),
            home=home.root,
            device=str(checked.device),
            device_place=here,
            threads=threads_of(1),
            tracking_uri=uri,
            place=None if place is None else StudyPlace(*place),
            ledger_url=storage or local_url(home),
            weights_dir=weights_dir,
            settings=settings,
            shares=storage is not None,
            burst=burst,
            max_cells=max_cells,
            max_idle=max_idle,
        )
        stop = stop_on_terminate(signal.SIGINT)
        replay(home, uri)  # what a worker of this machine left that was killed
        try:
            with make_display(console, total=len(to_do), workers=1, what=f"worker {config.name}") as display:
                taken = work(config, display.show, stop)
        finally:
            replay(home, uri)
    say(f"worker {config.name} {'was stopped' if stop.is_set() else 'ends'} after {taken} cells")
    return not stop.is_set()


def _what_is_left(ledger: Ledger, study_name: str) -> tuple[Study, list[Cell]]:
    document = ledger.definition(study_name)
    if document is None:
        raise UsageError(
            f"the trial database was made by an older version and has no definition of study {study_name}",
            f"tracker sweep --study {study_name} --enroll-only puts it there",
        )
    study = parse_study(document, file=f"study {study_name} of the trial database")
    open_ids = {row.cell_id for row in ledger.rows(study_name) if row.state in ("WAITING", "RUNNING")}
    return study, [cell for cell in study.cells if cell.id in open_ids]


@contextmanager
def _session(home: Home, say: Callable[[str], None]) -> Iterator[str]:
    """Yield the address of MLflow; one of another machine may be away for now, results wait in the journal."""
    given = os.environ.get(URI_VARIABLE, "")
    try:
        session = tracking_session(home, say)
        uri = session.__enter__()
    except TrackingError as error:
        if not given.startswith(("http://", "https://")):
            raise
        say(f"{error.message}; results wait in the journal and are sent when it is back")
        yield given
        return
    try:
        yield uri
    finally:
        session.__exit__(None, None, None)


def _obtain_sources(study: Study, cells: Sequence[Cell], home: Home, uri: str) -> None:
    """Fetch the sources that were pre-trained where the study was enrolled.

    Raises:
        PreflightError: one is neither here nor in MLflow.
    """
    missing: list[TrackerError] = [
        SourceMissing(
            f"source {job.name} for {job.recipe.model} is neither here nor in MLflow",
            f"tracker pretrain --study {study.name}, or tracker sweep --study {study.name} --enroll-only",
        )
        for job in jobs_of(cells)
        if not obtain_source(job, home, uri)
    ]
    if missing:
        raise PreflightError(missing)
