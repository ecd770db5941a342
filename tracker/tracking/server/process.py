"""The MLflow server as an operating system process: started, waited for, ended."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from importlib.metadata import version

import psutil

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.tracking.server.logs import log_path, log_tail
from tracker.tracking.server.ports import HOST, PortTaken
from tracker.tracking.server.record import Record, children, lives

READY_SECONDS = 60

TERM_SECONDS = 8
"""uvicorn lets open requests end; then SIGKILL."""


def spawn(home: Home, port: int, database: str, lasting: bool) -> Record:
    """Start `mlflow server` in a session of its own, so that Ctrl-C ends its users and not the server.

    One worker and no job executor: 2 processes and 0.4 GB instead of 15 and 1.9 GB, and faster on SQLite.

    Writes: the server's log; not the record.
    """
    command = [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--host", HOST, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", database),
        *("--serve-artifacts", "--artifacts-destination", home.artifacts.as_uri()),
        *("--uvicorn-opts", "--no-access-log"),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("_MLFLOW")}
    environment |= {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    with open(log_path(home), "ab") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=home.server,  # MLflow may leave files where it is started
            env=environment,
            start_new_session=True,
        )
    for pid in [pid for pid, earlier in children.items() if earlier.poll() is not None]:
        del children[pid]
    children[child.pid] = child
    created = psutil.Process(child.pid).create_time()
    return Record(child.pid, created, port, version("mlflow"), lasting)


def wait_ready(home: Home, record: Record, log_from: int) -> None:
    """Wait until the server answers, and it is this one that does.

    Args:
        log_from: byte of the log where this server's output begins.

    Raises:
        PortTaken: another program was quicker to take the port.
        TrackingError: it died or stays silent; quotes the end of its log.
    """
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if not record.alive():
            words = log_tail(home, log_from)
            if "address already in use" in words.lower():
                raise PortTaken(record.port)
            raise TrackingError(
                f"the MLflow server ended while starting; the end of {log_path(home)}:\n{words}",
                "mend what the log says, then `tracker server start`",
            )
        if _listens(record) and answers(record.port):
            return
        time.sleep(0.05)
    raise TrackingError(
        f"the MLflow server did not answer at {record.uri} within {READY_SECONDS} s; "
        f"the end of {log_path(home)}:\n{log_tail(home, log_from)}",
        "see whether the machine is overloaded; `tracker server stop`, then `tracker server start`",
    )


def terminate(record: Record) -> bool:
    """End the server and whatever is left of its process group; say whether there was anything to end."""
    members = record.members()
    if not members:
        return False
    for kill in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(record.pid, kill)
        deadline = time.monotonic() + TERM_SECONDS
        while any(map(lives, members)) and time.monotonic() < deadline:
            time.sleep(0.05)
        members = record.members()
        if not members:
            break
    if child := children.pop(record.pid, None):
        with suppress(subprocess.TimeoutExpired):
            child.wait(TERM_SECONDS)
    return True


def _listens(record: Record) -> bool:
    """Say whether a process of the server's group holds its port, not a stranger who was quicker."""
    for process in record.members():
        with suppress(psutil.Error):
            for connection in process.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == record.port:
                    return True
    return False


def answers(port: int) -> bool:
    """Say whether a server on that port answers MLflow's health check."""
    try:
        for page in ("/health", "/version"):
            connection = http.client.HTTPConnection(HOST, port, timeout=5)
            with closing(connection):
                connection.request("GET", page)
                if connection.getresponse().status != 200:
                    return False
    except (OSError, http.client.HTTPException):
        return False
    return True
