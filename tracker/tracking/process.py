"""The local MLflow server as an operating system process: started, recognised, ended."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

from tracker.study.errors import TrackingError
from tracker.study.home import Home, replacing

HOST = "127.0.0.1"
READY_SECONDS = 60
TERM_SECONDS = 8
"""uvicorn lets open requests end; then SIGKILL."""

_children: dict[int, subprocess.Popen[bytes]] = {}
"""Servers this process started: polled, so that a dead one does not stay a zombie that looks alive."""


@dataclass(frozen=True)
class Record:
    """What `server.json` says about the server that was started last.

    Args:
        pid: of the process, and of its process group.
        created: the process's start time, seconds since 1970; with the pid it names one process for ever.
        port: on 127.0.0.1.
        version: MLflow's.
        lasting: stays until `tracker server stop`; else it ends with the last session that uses it.
    """

    pid: int
    created: float
    port: int
    version: str
    lasting: bool

    @property
    def uri(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}"

    def alive(self) -> bool:
        """Say whether this very process still runs (a recycled pid is another process)."""
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.created) < 1.0 and _lives(process)
        except psutil.NoSuchProcess:
            return False

    def members(self) -> list[psutil.Process]:
        """Return the processes of its group: it, and workers that may have outlived it."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError, PermissionError):
                if os.getpgid(process.pid) != self.pid or process.create_time() < self.created - 1.0:
                    continue
                if _lives(process) and "mlflow" in " ".join(process.cmdline()):
                    found.append(process)
        return found


def record_path(home: Home) -> Path:
    """Where the record of `home`'s server lies."""
    return home.server / "server.json"


def log_path(home: Home) -> Path:
    """What `home`'s server prints."""
    return home.server / "server.log"


def read_record(home: Home) -> Record | None:
    """Return what was recorded last, alive or not; None if nothing readable was."""
    try:
        return Record(**json.loads(record_path(home).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_record(home: Home, record: Record) -> None:
    """Writes: the record, in one piece."""
    with replacing(record_path(home)) as path:
        path.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")


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
    for pid in [pid for pid, earlier in _children.items() if earlier.poll() is not None]:
        del _children[pid]
    _children[child.pid] = child
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
        while any(map(_lives, members)) and time.monotonic() < deadline:
            time.sleep(0.05)
        members = record.members()
        if not members:
            break
    if child := _children.pop(record.pid, None):
        with suppress(subprocess.TimeoutExpired):
            child.wait(TERM_SECONDS)
    return True


def _lives(process: psutil.Process) -> bool:
    """Say whether a process still does anything; one that nobody has waited for yet does not."""
    if child := _children.get(process.pid):
        child.poll()
    try:
        return process.is_running() and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class PortTaken(Exception):
    """A port that another program listens on."""


def usual_port(home: Home) -> int:
    """Return the port that `home`'s server takes if it can, 5000 to 5999.

    Each home has its own: a worker whose server died must not find another home's at its address,
    and a bookmark stays good.
    """
    digest = hashlib.sha256(os.fsencode(home.root)).digest()
    return 5000 + int.from_bytes(digest[:4], "big") % 1000


def choose_port(asked: int | None, last: int | None, usual: int) -> int:
    """Return the port asked for, else the last one (so that clients find a restarted server), else a free one.

    Args:
        usual: where to begin to look for a free one.

    Raises:
        TrackingError: the port asked for is taken.
    """
    if asked is not None:
        if _is_free(asked):
            return asked
        raise TrackingError(
            f"port {asked} of {HOST} is taken by another program",
            "choose another with --port, or leave --port out to have a free one found",
        )
    near = range(usual, usual + 10)
    for port in near if last is None else [last, *near]:
        if _is_free(port):
            return port
    with socket.create_server((HOST, 0)) as free:
        return int(free.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex((HOST, port)) == 0:
            return False
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
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


def log_size(home: Home) -> int:
    """Return how long the server's log is, in bytes."""
    return log_path(home).stat().st_size if log_path(home).exists() else 0


def log_tail(home: Home, start: int = 0, lines: int = 15) -> str:
    """Return the last lines of the server's log, from byte `start`."""
    try:
        with open(log_path(home), "rb") as file:
            file.seek(start)
            text = file.read().decode(errors="replace")
    except OSError:
        text = ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:]) or "    (empty)"
