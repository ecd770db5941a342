"""The local MLflow server: one for each home, shared by every command that needs it."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.tracking.process import (
    READY_SECONDS,
    TERM_SECONDS,
    PortTaken,
    Record,
    answers,
    choose_port,
    log_path,
    log_size,
    read_record,
    record_path,
    spawn,
    terminate,
    usual_port,
    wait_ready,
    write_record,
)

URI_VARIABLE = "MLFLOW_TRACKING_URI"

log = logging.getLogger(__name__)


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


@contextmanager
def tracking_session(home: Home, on_message: Callable[[str], None] | None = None) -> Iterator[str]:
    """Yield the address of MLflow: MLFLOW_TRACKING_URI if it is set, else the local server.

    A server that had to be started is ended again by the last session that uses it, whatever
    happens inside; one started by `tracker server start` or `tracker ui` stays.

    Args:
        on_message: told what takes a while.

    Raises:
        TrackingError: MLFLOW_TRACKING_URI does not answer, or the local server cannot be started.
    """
    if given := os.environ.get(URI_VARIABLE):
        yield _checked(given)
        return
    with _using(home):
        if on_message and not status(home).running:
            on_message("starting the local MLflow server")
        uri = start(home, lasting=False).uri
        assert uri is not None
        yield uri


def revive(home: Home, uri: str) -> bool:
    """See to it that MLflow answers at `uri`: start this home's own server again if it has died; say whether it does.

    It comes back at the same address and lasts as long as it would have. Several processes may
    call this at once; one of them starts it.
    """
    record = read_record(home)
    if record is not None and record.uri == uri:
        if record.alive() and answers(record.port):
            return True
        try:
            return start(home, record.port, lasting=record.lasting).uri == uri
        except TrackingError as error:
            log.warning("the MLflow server at %s does not come back: %s", uri, error.message)
            return False
    from tracker.tracking.client import check_reachable  # a second of imports that `server status` does not need

    try:
        check_reachable(uri)
    except TrackingError:
        return False
    return True


def reading_uri(home: Home) -> str:
    """Return where to read runs from: MLFLOW_TRACKING_URI, the running server, or its SQLite file without one.

    Raises:
        TrackingError: MLFLOW_TRACKING_URI does not answer, or nothing has been run in this home yet.
    """
    if given := os.environ.get(URI_VARIABLE):
        return _checked(given)
    record = read_record(home)
    if record is not None and record.alive() and answers(record.port):
        return record.uri
    return _existing_database(home)


def bulk_reading_uri(home: Home) -> str:
    """Return where to read a whole study from: as `reading_uri`, but the SQLite file also while its server runs.

    Through the server 2,048 runs take twice as long, and their files ten times as long.

    Raises:
        TrackingError: as `reading_uri`.
    """
    given = os.environ.get(URI_VARIABLE)
    return _checked(given) if given else _existing_database(home)


def _existing_database(home: Home) -> str:
    if home.tracking_db.is_file():
        with open(home.tracking_db, "rb") as file:
            if file.read(16) == b"SQLite format 3\0":
                return database_uri(home)
        # MLflow would try for minutes to open it
        raise TrackingError(f"{home.tracking_db} is not a SQLite database", "move it away, or choose another --home")
    raise TrackingError(f"nothing has been run here yet: no {home.tracking_db}", "tracker sweep --study quickstart")


def database_uri(home: Home) -> str:
    """Return MLflow's SQLite file as SQLAlchemy names it."""
    return f"sqlite:///{quote(str(home.tracking_db))}"


def store_name(home: Home, uri: str) -> str:
    """Name the store behind an address: "local" for this home's, whatever port it has today; else the address."""
    record = read_record(home)
    return "local" if uri == database_uri(home) or (record is not None and uri == record.uri) else uri


def _checked(uri: str) -> str:
    if "://" not in uri and uri != "databricks":
        raise TrackingError(f"{URI_VARIABLE}={uri} is not an address", "accepted: http://HOST:PORT, or unset it")
    from tracker.tracking.client import check_reachable  # a second of imports that `server status` does not need

    try:
        check_reachable(uri)
    except TrackingError as error:
        raise TrackingError(f"{URI_VARIABLE} is set, and {error.message}", error.cure) from error
    return uri


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


@contextmanager
def _using(home: Home) -> Iterator[None]:
    """Count as a user of the server; the last user out ends one that is not lasting.

    The count is a shared lock on a file: the kernel lets go of it when a process is killed.
    """
    descriptor = os.open(home.make(home.server) / "users.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            _stop_if_unused(home, descriptor)
    finally:
        os.close(descriptor)


def _stop_if_unused(home: Home, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    record: Record | None = read_record(home)
    if record is not None and not record.lasting:
        stop(home)
    fcntl.flock(descriptor, fcntl.LOCK_UN)
