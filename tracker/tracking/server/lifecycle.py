"""The local MLflow server: one for each home, started, looked at and stopped."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.tracking.server.health import answers
from tracker.tracking.server.logs import log_path, log_size
from tracker.tracking.server.ports import PortTaken, choose_port, holder, usual_port
from tracker.tracking.server.process import READY_SECONDS, TERM_SECONDS, spawn, terminate, wait_ready
from tracker.tracking.server.record import Record, closed_home, read_record, record_path, write_record
from tracker.tracking.server.settings import Settings
from tracker.tracking.server.storage import BACKEND_VARIABLE, Storage

SILENT_SECONDS = 3.0


@dataclass(frozen=True)
class ServerStatus:
    """What is known about a home's server.

    Args:
        running: its process lives; `remark` says if it does not answer.
        uri: where it answers; None when it does not run, like `pid` and `started_at`.
        started_at: local time, ISO 8601.
        log: its log file, which need not exist yet.
        database: MLflow's SQLite file, which need not exist yet; unused where `storage` names another.
        version: MLflow's, of the server that runs.
        team: it asks for a user and a password.
        storage: its PostgreSQL database without the password; None for the SQLite file.
        remark: what is odd about it, if anything; `cure` is what to do then.
    """

    running: bool
    uri: str | None
    pid: int | None
    started_at: str | None
    log: Path
    database: Path
    version: str | None = None
    team: bool = False
    storage: str | None = None
    remark: str | None = None
    cure: str | None = None


def status(home: Home) -> ServerStatus:
    """Say whether `home`'s server runs, and where."""
    record = read_record(home)
    nothing = ServerStatus(False, None, None, None, log_path(home), home.tracking_db)
    if record is None:
        return nothing
    if not record.alive():
        absence, cure = _absent(record)
        return replace(nothing, remark=absence, cure=cure)
    remark, way_on = _odd(record)
    started = datetime.fromtimestamp(record.created, UTC).astimezone().isoformat(timespec="seconds")
    return ServerStatus(
        running=True,
        uri=record.uri,
        pid=record.pid,
        started_at=started,
        log=log_path(home),
        database=home.tracking_db,
        version=record.version,
        team=record.settings.team,
        storage=record.storage or None,
        remark=remark,
        cure=way_on,
    )


def _absent(record: Record) -> tuple[str, str]:
    if record.elsewhere:
        return (
            f"the last one was started on {record.machine}, and whether it lives is not seen from here",
            f"look there; from here use MLFLOW_TRACKING_URI=http://{record.machine}:{record.port}",
        )
    if record.members():
        return f"the last one (pid {record.pid}) died, and left a worker behind", "`tracker server stop` ends it"
    if answers(record.uri, SILENT_SECONDS):
        return (
            f"the last one (pid {record.pid}) died, and {holder(record.port)} has its port {record.port}",
            "`tracker server start` finds another",
        )
    return (
        f"the last one (pid {record.pid}, port {record.port}) died without being stopped",
        "`tracker server start` brings it back as it was; `tracker server logs` says why it died, if it could",
    )


def _odd(record: Record) -> tuple[str | None, str | None]:
    if not answers(record.uri, SILENT_SECONDS):
        return (
            f"it does not answer: it hangs, or has just been started (nothing within {SILENT_SECONDS:.0f} s)",
            "see `tracker server logs`; if it stays so: `tracker server stop`, then `tracker server start`",
        )
    if record.version != version("mlflow"):
        return (
            f"it runs MLflow {record.version}, and {version('mlflow')} is installed",
            "`tracker server stop`, then `tracker server start`",
        )
    return None, None


def start(
    home: Home, port: int | None = None, *, lasting: bool = True, settings: Settings | None = None
) -> ServerStatus:
    """Find the running server, or start one and wait until it answers.

    Args:
        port: None takes the last one, or the home's usual one, or any that is free.
        lasting: keep it until `stop`; otherwise the last `tracking_session` that uses it ends it.
        settings: None takes those of a server that died, else 127.0.0.1 and no password.

    Raises:
        UsageError: settings that would leave it open.
        TrackingError: the port is taken, it runs otherwise than asked, its runs would be elsewhere than those of the
            one that died, or it dies or stays silent (quotes its log).

    Writes: the record, the log and the database.
    """
    if settings is not None:
        settings.check()
    with locked(home):
        record = read_record(home)
        if record is not None and record.alive():
            _same(record, port, settings, Storage.of(home) if BACKEND_VARIABLE in os.environ else None)
            # Its starter may have been killed before it answered.
            wait_ready(home, record, log_size(home))
            if lasting and not record.lasting:
                write_record(home, replace(record, lasting=True))
            return status(home)
        if record is not None:
            _same_storage(home, record)
        storage = prepare(home, record)
        chosen = settings or (record.settings if record else Settings())
        _launch(home, port, record.port if record else None, storage, chosen, lasting)
        return status(home)


def stop(home: Home) -> bool:
    """End the server if it runs; say whether it did. Removes the record.

    Raises:
        TrackingError: it is another user's.
    """
    with locked(home):
        record = read_record(home)
        if record is not None and record.kept():
            _dismiss(record)
        ended = record is not None and (terminate(record) or record.keeper is not None)
        record_path(home).unlink(missing_ok=True)
        return ended


def prepare(home: Home, record: Record | None) -> Storage:
    """Clear away what is left of a server that died, and make the database ready for the next."""
    storage = Storage.of(home)
    if record is not None:
        terminate(record)  # workers that outlived it would hold its port
    storage.prepare(home)
    return storage


def _same_storage(home: Home, record: Record) -> None:
    """Refuse to bring a server back whose runs would not be there."""
    storage = Storage.of(home).name
    if record.storage != storage:
        raise TrackingError(
            f"the last server of {home.root} died; it kept its runs in {_place(record.storage)}, "
            f"and the next would in {_place(storage)}",
            f"set {BACKEND_VARIABLE} as it was; or `tracker server stop` to forget that one",
        )


def _same(record: Record, port: int | None, settings: Settings | None, storage: Storage | None) -> None:
    """Refuse to pass a running server off as the one asked for when it is another."""
    if port not in (None, record.port):
        problem = f"at {record.uri}, not on port {port}"
    elif settings not in (None, record.settings):
        problem = f"at {record.uri}, with another --host, --team, --allowed-hosts or --cors-origins"
    elif storage is not None and storage.name != record.storage:
        problem = f"at {record.uri}, with its runs in {_place(record.storage)}, not in {_place(storage.name)}"
    else:
        return
    raise TrackingError(f"the server already runs {problem}", "`tracker server stop` first")


def _place(storage: str) -> str:
    return storage or "the home's SQLite file"


def _dismiss(record: Record) -> None:
    """Have `tracker server run` end its server itself, so that its service manager sees a clean end."""
    assert record.keeper is not None
    with suppress(OSError):
        os.kill(record.keeper, signal.SIGTERM)
    deadline = time.monotonic() + 2 * TERM_SECONDS
    while record.alive() and time.monotonic() < deadline:
        time.sleep(0.05)


def _launch(
    home: Home, port: int | None, last: int | None, storage: Storage, settings: Settings, lasting: bool
) -> None:
    for _ in range(5):
        chosen = choose_port(port, last, usual_port(home), settings.host)
        log_from = log_size(home)
        record = spawn(home, chosen, storage, settings, lasting)
        try:
            write_record(home, record)  # before it is ready: a kill -9 of this process leaves no stray
            wait_ready(home, record, min(log_from, log_size(home)))
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


@contextmanager
def locked(home: Home) -> Iterator[None]:
    """One start or stop at a time in a home."""
    path = home.make(home.server) / "server.lock"
    try:
        with FileLock(path, timeout=READY_SECONDS + 3 * TERM_SECONDS):
            yield
    except Timeout as error:
        raise TrackingError(
            f"{path}: another command has held it for too long", "see what it is, and end it"
        ) from error
    except PermissionError as error:
        raise closed_home(home) from error
