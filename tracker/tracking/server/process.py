"""The MLflow server as operating system processes: started, waited for, ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib.metadata import entry_points, version

import psutil

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.tracking.server.health import answers
from tracker.tracking.server.logs import LOG_VARIABLE, log_path, log_tail, open_log, turn_over
from tracker.tracking.server.ports import PortTaken
from tracker.tracking.server.record import Record, children, hold, lives, read_record
from tracker.tracking.server.settings import Settings
from tracker.tracking.server.storage import Storage
from tracker.tracking.server.team import auth_environment, check_secrets

READY_SECONDS = 120
"""From its start: a machine that is busy otherwise takes ten times the usual 3 to 6."""

ANSWER_SECONDS = 10
"""For one that was started long ago."""

TERM_SECONDS = 8
"""uvicorn lets open requests end, for 5 s; then SIGKILL."""

OTHERWISE = (
    "MLFLOW_ARTIFACTS_ONLY",
    "MLFLOW_BASIC_AUTH_FAIL_CLOSED",
    "MLFLOW_DEFAULT_ARTIFACT_ROOT",
    "MLFLOW_ENABLE_REMOTE_ASSISTANT",
    "MLFLOW_ENABLE_WORKSPACES",
    "MLFLOW_GUNICORN_OPTS",
    "MLFLOW_REGISTRY_STORE_URI",
    "MLFLOW_SERVER_ALLOWED_HOSTS",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS",
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE",
    "MLFLOW_SERVER_X_FRAME_OPTIONS",
    "MLFLOW_SERVE_ARTIFACTS",
    "MLFLOW_STATIC_PREFIX",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
)
"""Variables that would make MLflow another server than the one promised, or are none of its business."""


def spawn(
    home: Home,
    port: int,
    storage: Storage,
    settings: Settings,
    lasting: bool = True,
    *,
    foreground: bool = False,
) -> Record:
    """Start `mlflow server` in a session of its own, so that Ctrl-C ends its users and not the server.

    One worker and no job executor: 2 processes and 0.4 GB instead of 15 and 1.9 GB, and faster on SQLite.

    Args:
        foreground: print to this process's stderr, and not into the log.

    Raises:
        TrackingError: a team's server without its secrets, or another server of this home somewhere.

    Writes: the server's log, and its auth configuration; not the record.
    """
    if settings.team:
        check_secrets()
    lock = hold(home, read_record(home))
    try:
        environment = _environment(home, storage, settings, foreground)
        output = os.dup(2) if foreground else _fresh_log(home)  # stdout is for results
        try:
            child = _popen(home, port, settings, environment, output, lock)
        finally:
            os.close(output)
    finally:
        if lock is not None:
            os.close(lock)
    for pid in [pid for pid, earlier in children.items() if earlier.poll() is not None]:
        del children[pid]
    children[child.pid] = child
    created = psutil.Process(child.pid).create_time()
    keeper = os.getpid() if foreground else None
    return Record(
        child.pid, created, port, version("mlflow"), lasting, settings, storage.name, socket.gethostname(), keeper
    )


def _popen(
    home: Home, port: int, settings: Settings, environment: dict[str, str], output: int, lock: int | None
) -> subprocess.Popen[bytes]:
    """Nothing secret here: every user of the machine reads the arguments of every process."""
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--app-name", _app_name(settings.team)),
        *("--host", settings.host, "--port", str(port), "--workers", "1"),
        *("--uvicorn-opts", f"--no-access-log --timeout-graceful-shutdown 5 --app-dir {os.devnull}"),
    ]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        cwd=home.server,  # MLflow may leave files where it is started
        env=environment,
        start_new_session=True,
        pass_fds=() if lock is None else (lock,),
    )


def _app_name(team: bool) -> str:
    name = "tracker-team" if team else "tracker"
    if not entry_points(group="mlflow.app", name=name):
        raise TrackingError(
            f"MLflow does not know the application {name}: this installation is of an earlier version",
            "install again: pip install --upgrade norm-tracker, or `make` in a checkout",
        )
    return name


def _environment(home: Home, storage: Storage, settings: Settings, foreground: bool) -> dict[str, str]:
    found = {
        name: value for name, value in os.environ.items() if name not in OTHERWISE and not name.startswith("_MLFLOW")
    }
    found |= {
        "MLFLOW_BACKEND_STORE_URI": storage.uri,
        "MLFLOW_ARTIFACTS_DESTINATION": storage.artifacts,
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(settings.host_patterns()),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "PYTHONSAFEPATH": "1",  # a home may be somebody else's: no module is taken from it (nor by uvicorn: --app-dir)
        LOG_VARIABLE: "" if foreground else str(log_path(home)),
    }
    if origins := settings.origin_patterns():
        found["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(origins)
    if settings.team:
        found |= auth_environment(home, storage)
    return found


def _fresh_log(home: Home) -> int:
    turn_over(log_path(home))
    return open_log(log_path(home))


def wait_ready(home: Home, record: Record, log_from: int) -> None:
    """Wait until the server answers, and it is this one that does.

    Args:
        log_from: byte of the log where this server's output begins.

    Raises:
        PortTaken: another program was quicker to take the port.
        TrackingError: it died or stays silent; quotes the end of its log.
    """
    began = time.time()
    deadline = max(record.created + READY_SECONDS, began + ANSWER_SECONDS)
    while time.time() < deadline:
        if not record.alive():
            words = log_tail(home, log_from)
            if "address already in use" in words.lower():
                raise PortTaken(record.port)
            raise TrackingError(
                f"the MLflow server ended while starting; the end of {log_path(home)}:\n{words}",
                "mend what the log says, then `tracker server start`",
            )
        if ready(record):
            return
        time.sleep(0.05)
    raise TrackingError(
        f"the MLflow server did not answer at {record.uri} within {deadline - began:.0f} s; "
        f"the end of {log_path(home)}:\n{log_tail(home, log_from)}",
        "see whether the machine is overloaded; `tracker server stop`, then `tracker server start`",
    )


def ready(record: Record) -> bool:
    """Say whether the server answers, and not a stranger who was quicker to take its port."""
    return _listens(record) and answers(record.uri)


def terminate(record: Record) -> bool:
    """End the server and whatever is left of its process group; say whether there was anything to end.

    Raises:
        TrackingError: it is another user's.
    """
    members = record.members()
    if not members:
        return False
    for kill in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(record.pid, kill)
        except ProcessLookupError:
            pass
        except PermissionError as error:
            with suppress(psutil.Error):
                raise not_yours(record, members[0].username()) from error
            raise not_yours(record, "another user") from error
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


def not_yours(record: Record, user: str) -> TrackingError:
    """Return the error of a server that somebody else started."""
    return TrackingError(
        f"the server at {record.uri} (pid {record.pid}) belongs to {user}, and cannot be ended by you",
        f"ask {user} to run `tracker server stop`, or take a home of your own: --home DIR",
    )


def _listens(record: Record) -> bool:
    """Say whether a process of the server's group holds its port."""
    for process in record.members():
        with suppress(psutil.Error):
            for connection in process.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == record.port:
                    return True
    return False
