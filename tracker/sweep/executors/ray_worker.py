"""A worker inside a Ray process: told where it is, started, listened to, stopped cleanly."""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from tracker.ledger.ledger import Ledger
from tracker.study.errors import PreflightError, TrackerError
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.sweep.events import Event, Notice
from tracker.sweep.executors.placement import device_place
from tracker.sweep.joining import check_fitness, open_cells
from tracker.sweep.workers.config import WorkerConfig
from tracker.sweep.workers.process import work

HEAR_SECONDS = 10.0
"""How long a question for news is held open; what answers it comes at once."""

THREADS = 4
"""Calls a worker answers at the same time: it runs while it is listened to and told to stop."""


PASSED_ON = ("MLFLOW_", "TRACKER_", "PG")
"""Beginnings of the variables that workers get from the sweep: how MLflow and PostgreSQL are reached, and secrets.

They travel as an argument of a call, which Ray shows nowhere. Its runtime environment, the usual way,
is readable by whoever sees the cluster's dashboard.
"""

NOT_PASSED_ON = frozenset(("TRACKER_HOME", "TRACKER_STORAGE"))
"""Each machine has a home of its own, and the storage is part of what a worker is told anyway."""


@dataclass(frozen=True)
class Whereabouts:
    """Where Ray has put a worker.

    Args:
        address: of the machine, by which Ray tells them apart.
        place: of the device, its name among all machines.
        home: the machine's TRACKER_HOME, None where it has none.
    """

    node: str
    address: str
    place: str
    home: str | None


def passed_on() -> dict[str, str]:
    """Return the variables that workers get."""
    chosen = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    return {name: value for name, value in chosen.items() if name not in NOT_PASSED_ON}


@dataclass(frozen=True)
class News:
    """What a worker has said since it was last listened to.

    Args:
        ended: it says no more.
        unfit: its machine lacks what the cells need; it took none.
        failed: it ended by an error.
    """

    events: list[Event]
    ended: bool
    unfit: bool
    failed: bool


class RayWorker:
    """The actor. Its methods run in threads, so that one can be asked while another works."""

    def __init__(self) -> None:
        self._said: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._unfit = self._failed = False

    def where(self) -> Whereabouts:
        """Say where this is; asking waits until Ray has room for the worker."""
        import ray

        context = ray.get_runtime_context()
        gpus = context.get_accelerator_ids().get("GPU") or []
        return Whereabouts(
            node=context.get_node_id(),
            address=ray.util.get_node_ip_address(),
            place=device_place(f"cuda:{gpus[0]}" if gpus else "cpu"),
            home=os.environ.get("TRACKER_HOME"),
        )

    def run(self, config: WorkerConfig, environment: Mapping[str, str], checks: bool) -> None:
        """Take and run cells until none is left or the worker is told to stop; it all goes into the news.

        Args:
            environment: variables of the sweep's process; what the machine has set itself stays.
            checks: look first whether this machine has what the cells need.
        """
        for name, value in environment.items():
            os.environ.setdefault(name, value)
        try:
            if checks:
                self._check(config)
            work(config, self._said.put, self._stop)
        except Exception as error:  # nobody waits for this call: the news tell it
            self._failed = True
            self._unfit = isinstance(error, PreflightError)
            text = str(error) if isinstance(error, TrackerError) else f"{type(error).__name__}: {error}"
            self._said.put(Notice(f"worker {config.name} ends: {text}"))
        finally:
            self._said.put(None)

    def hear(self) -> News:
        """Return what has been said, at once if there is anything, else after a while."""
        events: list[Event] = []
        ended = False
        wait = HEAR_SECONDS
        try:
            while not ended:
                event = self._said.get(timeout=wait)
                ended, wait = event is None, 0.0
                if event is not None:
                    events.append(event)
        except queue.Empty:
            pass
        return News(events, ended, self._unfit, self._failed)

    def stop(self) -> None:
        """Let the worker finish its step, keep its state and give its cell back."""
        self._stop.set()

    def _check(self, config: WorkerConfig) -> None:
        """See that another machine than the sweep's has what the cells need.

        Raises:
            PreflightError: it lacks something.
        """
        crew = config.crew
        study = parse_study(crew.document, file="study of the sweep")
        with Ledger(crew.ledger_url) as ledger:
            cells = open_cells(ledger, study)
        try:
            check_fitness(
                *(study, cells, Home(crew.home), crew.tracking_uri),
                device=config.device,
                weights_dir=crew.weights_dir,
                settings=crew.settings,
            )
        except PreflightError as error:
            raise PreflightError([_at_host(obstacle) for obstacle in error.obstacles]) from error
        except TrackerError as error:
            raise PreflightError([_at_host(error)]) from error


def _at_host(obstacle: TrackerError) -> TrackerError:
    return TrackerError(f"{socket.gethostname()}: {obstacle.message}", obstacle.cure)
