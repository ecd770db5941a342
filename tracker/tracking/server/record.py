"""Which process is a home's server: written down, found again, told from any other."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from tracker.study.home import Home, replacing
from tracker.tracking.server.ports import HOST

children: dict[int, subprocess.Popen[bytes]] = {}
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
            return abs(process.create_time() - self.created) < 1.0 and lives(process)
        except psutil.NoSuchProcess:
            return False

    def members(self) -> list[psutil.Process]:
        """Return the processes of its group: it, and workers that may have outlived it."""
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
    """Return what was recorded last, alive or not; None if nothing readable was."""
    try:
        return Record(**json.loads(record_path(home).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_record(home: Home, record: Record) -> None:
    """Writes: the record, in one piece."""
    with replacing(record_path(home)) as path:
        path.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")


def lives(process: psutil.Process) -> bool:
    """Say whether a process still does anything; one that nobody has waited for yet does not."""
    if child := children.get(process.pid):
        child.poll()
    try:
        return process.is_running() and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
