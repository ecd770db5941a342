"""The server in the foreground, as containers and service managers run it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.tracking.server.lifecycle import locked, prepare
from tracker.tracking.server.ports import choose_port, usual_port
from tracker.tracking.server.process import ready, spawn, terminate
from tracker.tracking.server.record import Record, children, read_record, record_path, write_record
from tracker.tracking.server.settings import Settings


def run(home: Home, port: int | None, settings: Settings, on_ready: Callable[[str], None]) -> None:
    """Run the server until SIGTERM or SIGINT asks for its end. It prints where this process prints.

    Args:
        port: None takes the last one, or the home's usual one, or any that is free.
        on_ready: told the address once it answers.

    Raises:
        UsageError: settings that would leave it open.
        TrackingError: it runs already, the port is taken, or it ended by itself (MLflow says 0 even then).

    Writes: the record and the database.
    """
    settings.check()
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    record = _begin(home, port, settings)
    try:
        told = False
        while not asked and record.alive():
            if not told and (told := ready(record)):
                on_ready(record.uri)
            time.sleep(0.1)
    finally:
        # The process itself is waited for here: its exit code is worth telling.
        child = children.get(record.pid)
        terminate(record)
        if read_record(home) == record:
            record_path(home).unlink(missing_ok=True)
    if not asked:
        code = None if child is None else child.poll()
        raise TrackingError(
            f"the MLflow server ended by itself (its exit code: {code})", "what it printed last may say why"
        )


def _begin(home: Home, port: int | None, settings: Settings) -> Record:
    with locked(home):
        last = read_record(home)
        if last is not None and last.alive():
            raise TrackingError(
                f"the server of {home.root} already runs at {last.uri} (pid {last.pid})", "`tracker server stop` first"
            )
        storage = prepare(home, last)
        chosen = choose_port(port, last.port if last else None, usual_port(home), settings.host)
        record = spawn(home, chosen, storage, settings, foreground=True)
        write_record(home, record)
        return record
