"""MLflow for as long as a command needs it: a server found, started, brought back, ended by its last user."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.tracking.server.addresses import URI_VARIABLE, checked
from tracker.tracking.server.health import answers
from tracker.tracking.server.lifecycle import start, stop
from tracker.tracking.server.record import Record, read_record

log = logging.getLogger(__name__)


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
        yield checked(given)
        return
    with _using(home):
        record = read_record(home)
        if on_message and not (record and record.alive()):
            on_message("starting the local MLflow server")
        uri = start(home, lasting=False).uri
        assert uri is not None
        yield uri


def server_stays(home: Home) -> bool:
    """Say whether MLflow answers after the session has ended: one elsewhere, or a local one that lasts."""
    record = read_record(home)
    return bool(os.environ.get(URI_VARIABLE)) or (record is not None and record.alive())


def revive(home: Home, uri: str) -> bool:
    """See to it that MLflow answers at `uri`: start this home's own server again if it has died; say whether it does.

    It comes back at the same address, with the same settings, and lasts as long as it would have.
    Several processes may call this at once; one of them starts it. A server of `tracker server run`
    is left to its service manager.
    """
    record = read_record(home)
    if record is not None and record.uri == uri:
        if record.alive() and answers(record.uri):
            return True
        if record.keeper is not None:
            return False
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
