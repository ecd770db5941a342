"""A worker that no sweep started: by hand, by SLURM, by Kubernetes, on any machine."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from tracker.ledger.ledger import Ledger, local_url
from tracker.ledger.opening import ledger_with
from tracker.study.errors import DeviceError, TrackingError, UsageError
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.study import Study
from tracker.sweep.executors.placement import device_place
from tracker.sweep.joining import check_fitness, open_cells
from tracker.sweep.progress import make_display, say_on
from tracker.sweep.workers.config import CellSettings, CrewConfig, WorkerConfig
from tracker.sweep.workers.process import stop_on_terminate, work
from tracker.tracking.replay import replay
from tracker.tracking.server.addresses import URI_VARIABLE
from tracker.tracking.server.session import tracking_session
from tracker.tracking.writing import StudyPlace
from tracker.training.device import threads_of
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
        study = _definition(ledger, study_name)
        to_do = open_cells(ledger, study)
        if not to_do:
            say(f"study {study_name}: every cell is settled")
            return True
        place = ledger.place(study_name)
        aside = {failed.place: failed.reason for failed in ledger.devices.aside()}
    with _session(home, say) as uri:
        checked = check_fitness(
            *(study, to_do, home, uri),
            device=device or study.device,
            weights_dir=weights_dir,
            settings=settings,
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
            crew=CrewConfig(
                document=study.document(),
                home=home.root,
                tracking_uri=uri,
                place=None if place is None else StudyPlace(*place),
                ledger_url=storage or local_url(home),
                weights_dir=weights_dir,
                settings=settings,
                shares=storage is not None,
            ),
            device=str(checked.device),
            device_place=here,
            threads=threads_of(1),
            burst=burst,
            max_cells=max_cells,
            max_idle=max_idle,
        )
        stop = stop_on_terminate(signal.SIGINT)
        replay(home, uri)  # what a worker of this machine left that was killed
        try:
            with make_display(console, total=len(to_do), what=f"worker {config.name}") as display:
                taken = work(config, display.show, stop)
        finally:
            replay(home, uri)
    say(f"worker {config.name} {'was stopped' if stop.is_set() else 'ends'} after {taken} cells")
    return not stop.is_set()


def _definition(ledger: Ledger, study_name: str) -> Study:
    document = ledger.definition(study_name)
    if document is None:
        raise UsageError(
            f"the trial database was made by an older version and has no definition of study {study_name}",
            f"tracker sweep --study {study_name} --enroll-only puts it there",
        )
    return parse_study(document, file=f"study {study_name} of the trial database")


@contextmanager
def _session(home: Home, say: Callable[[str], None]) -> Iterator[str]:
    """Yield the address of MLflow; one of another machine may be away for now, results wait in the journal."""
    given = os.environ.get(URI_VARIABLE, "")
    with ExitStack() as stack:
        try:
            uri = stack.enter_context(tracking_session(home, say))
        except TrackingError as error:
            if not given.startswith(("http://", "https://")):
                raise
            say(f"{error.message}; results wait in the journal and are sent when it is back")
            uri = given
        yield uri
