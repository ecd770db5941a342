"""Which process is a home's server: written down, found again, told from any other."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from tracker.study.errors import TrackingError
from tracker.study.home import Home, replacing
from tracker.study.plain import parse_json
from tracker.tracking.server.settings import Settings

LOCK = "running.lock"
LETTING_GO_SECONDS = 3.0
"""A process counts as dead when its first thread is; the others keep its files open for a moment."""

children: dict[int, subprocess.Popen[bytes]] = {}
"""Servers this process started: polled, so that a dead one does not stay a zombie that looks alive."""


@dataclass(frozen=True)
class Record:
    """What `server.json` says about the server that was started last.

    Args:
        pid: of the process, and of its process group.
        created: the process's start time, seconds since 1970; with the pid it names one process for ever.
        version: MLflow's.
        lasting: stays until `tracker server stop`; else it ends with the last session that uses it.
        settings: whom it listens to.
        storage: its database without the password; empty for the home's SQLite file.
        machine: where the pid means something; empty in records of before.
        keeper: pid of the `tracker server run` it belongs to, if any.
    """

    pid: int
    created: float
    port: int
    version: str
    lasting: bool
    settings: Settings = field(default_factory=Settings)
    storage: str = ""
    machine: str = ""
    keeper: int | None = None

    @property
    def uri(self) -> str:
        """Where this machine's programs reach it."""
        return f"http://{self.settings.reached_at}:{self.port}"

    @property
    def elsewhere(self) -> bool:
        """Say whether another machine, or another container, wrote this."""
        return self.machine not in ("", socket.gethostname())

    def alive(self) -> bool:
        """Say whether this very process still runs (a recycled pid is another process)."""
        if self.elsewhere:
            return False
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.created) < 1.0 and lives(process)
        except psutil.NoSuchProcess:
            return False

    def kept(self) -> bool:
        """Say whether the `tracker server run` it belongs to still looks after it."""
        with suppress(psutil.Error):
            return self.alive() and self.keeper is not None and psutil.Process(self.pid).ppid() == self.keeper
        return False

    def members(self) -> list[psutil.Process]:
        """Return the processes of its group: it, and workers that may have outlived it."""
        if self.elsewhere:
            return []
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError, PermissionError):
                if os.getpgid(process.pid) != self.pid or process.create_time() < self.created - 1.0:
                    continue
                if lives(process) and "mlflow" in " ".join(process.cmdline()):
                    found.append(process)
        return found


def record_path(home: Home) -> Path:
    """Where the record of `home`'s server lies."""
    return home.server / "server.json"


def read_record(home: Home) -> Record | None:
    """Return what was recorded last, alive or not; None if nothing readable was.

    Raises:
        TrackingError: the home is another user's, and closed.
    """
    try:
        fields = parse_json(record_path(home).read_text(encoding="utf-8"))
        if settings := fields.pop("settings", None):
            settings |= {key: tuple(settings[key]) for key in ("allowed_hosts", "cors_origins")}
            fields["settings"] = Settings(**settings)
        return Record(**fields)
    except PermissionError as error:
        raise closed_home(home) from error
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None


def write_record(home: Home, record: Record) -> None:
    """Writes: the record, in one piece."""
    with replacing(record_path(home)) as path:
        path.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")


def closed_home(home: Home) -> TrackingError:
    """Return the error of a home that belongs to somebody else."""
    return TrackingError(
        f"{home.root}: no permission; it belongs to another user", "take a home of your own: --home DIR or TRACKER_HOME"
    )


def hold(home: Home, record: Record | None) -> int | None:
    """Lock the home for one server, and return the descriptor that a server must inherit to keep it so.

    The kernel lets go of the lock when the server ends, however it does. So it also tells a server
    of another container or machine that shares the folder, whose pid means nothing here.

    Returns:
        None on a file system without locks.

    Raises:
        TrackingError: there is such a server.
    """
    descriptor = os.open(home.make(home.server) / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    deadline = time.monotonic() + LETTING_GO_SECONDS
    try:
        while not _lock(descriptor):
            if time.monotonic() > deadline:
                raise BlockingIOError
            time.sleep(0.05)
    except OSError as error:
        os.close(descriptor)
        if not isinstance(error, BlockingIOError):
            return None
        where = f"on {record.machine}" if record and record.machine else "in another container or on another machine"
        raise TrackingError(
            f"a server of {home.root} already runs {where}",
            "use it: MLFLOW_TRACKING_URI=http://THAT-MACHINE:PORT; or stop it there",
        ) from error
    return descriptor


def is_held(home: Home) -> bool:
    """Say whether a server of the home runs, here or in a container that shares its folder; needs no right to write."""
    try:
        descriptor = os.open(home.server / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _lock(descriptor)
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def lives(process: psutil.Process) -> bool:
    """Say whether a process still does anything; one that nobody has waited for yet does not."""
    if child := children.get(process.pid):
        child.poll()
    try:
        return process.is_running() and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
