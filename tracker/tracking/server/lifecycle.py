"""The local MLflow server: one for each home, started, looked at and stopped."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.tracking.server.addresses import database_uri
from tracker.tracking.server.logs import log_path, log_size
from tracker.tracking.server.ports import PortTaken, choose_port, usual_port
from tracker.tracking.server.process import READY_SECONDS, TERM_SECONDS, spawn, terminate, wait_ready
from tracker.tracking.server.record import read_record, record_path, write_record


@dataclass(frozen=True)
class ServerStatus:
    """What is known about a home's server.

    Args:
        uri: where it answers; None when it does not run, like `pid` and `started_at`.
        started_at: local time, ISO 8601.
        log: its log file, which need not exist yet.
        database: MLflow's SQLite file, which need not exist yet.
    """

    running: bool
    uri: str | None
    pid: int | None
    started_at: str | None
    log: Path
    database: Path


def status(home: Home) -> ServerStatus:
    """Say whether `home`'s server runs, and where."""
    record = read_record(home)
    if record is None or not record.alive():
        return ServerStatus(False, None, None, None, log_path(home), home.tracking_db)
    started = datetime.fromtimestamp(record.created, UTC).astimezone().isoformat(timespec="seconds")
    return ServerStatus(True, record.uri, record.pid, started, log_path(home), home.tracking_db)


def start(home: Home, port: int | None = None, *, lasting: bool = True) -> ServerStatus:
    """Find the running server, or start one and wait until it answers.

    Args:
        port: on 127.0.0.1; None takes the last one, or 5000 and up, or any that is free.
        lasting: keep it until `stop`; otherwise the last `tracking_session` that uses it ends it.

    Raises:
        TrackingError: the port is taken, or the server dies or stays silent; quotes its log.

    Writes: the record, the log and the database.
    """
    with _lock(home):
        record = read_record(home)
        if record is not None and record.alive():
            if port not in (None, record.port):
                raise TrackingError(
                    f"the server already runs at {record.uri}, not on port {port}", "`tracker server stop` first"
                )
            # Its starter may have been killed before it answered.
            wait_ready(home, record, log_size(home))
            if lasting and not record.lasting:
                write_record(home, replace(record, lasting=True))
            return status(home)
        if record is not None:
            terminate(record)  # workers that outlived it would hold its port
        _prepare_database(home)
        _launch(home, port, record.port if record else None, lasting)
        return status(home)


def stop(home: Home) -> bool:
    """End the server if it runs; say whether it did. Removes the record."""
    with _lock(home):
        record = read_record(home)
        ended = record is not None and terminate(record)
        record_path(home).unlink(missing_ok=True)
        return ended


def _launch(home: Home, port: int | None, last: int | None, lasting: bool) -> None:
    for _ in range(5):
        log_from = log_size(home)
        record = spawn(home, choose_port(port, last, usual_port(home)), database_uri(home), lasting)
        try:
            write_record(home, record)  # before it is ready: a kill -9 of this process leaves no stray
            wait_ready(home, record, log_from)
        except PortTaken:
            record_path(home).unlink(missing_ok=True)
            continue
        except BaseException:
            terminate(record)
            record_path(home).unlink(missing_ok=True)
            raise
        return
    raise TrackingError(
        "every port tried was taken by another program", "choose one with `tracker server start --port`"
    )


def _prepare_database(home: Home) -> None:
    """Make the database's folder and switch the file to WAL, which stays with it; MLflow never does.

    MLflow's tables are made by the server itself, alone, since this runs under the lock: two
    processes that open a fresh file at once crash one another.
    """
    home.make(home.root)
    try:
        with closing(sqlite3.connect(home.tracking_db, timeout=30)) as database:
            database.execute("PRAGMA journal_mode=WAL")
    except sqlite3.Error as error:
        raise TrackingError(
            f"{home.tracking_db}: {error}", "is it a SQLite file, and its folder writable and not full?"
        ) from error


@contextmanager
def _lock(home: Home) -> Iterator[None]:
    """One start or stop at a time in a home."""
    path = home.make(home.server) / "server.lock"
    try:
        with FileLock(path, timeout=READY_SECONDS + 3 * TERM_SECONDS):
            yield
    except Timeout as error:
        raise TrackingError(
            f"{path}: another command has held it for too long", "see what it is, and end it"
        ) from error
