"""The port a home's server listens on, and who else has it."""

from __future__ import annotations

import hashlib
import os
import pwd
import socket
from contextlib import suppress
from pathlib import Path

import psutil

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.tracking.server.settings import HOST


class PortTaken(Exception):
    """A port that another program listens on."""


def usual_port(home: Home) -> int:
    """Return the port that `home`'s server takes if it can, 5000 to 5999.

    Each home has its own: a worker whose server died must not find another home's at its address,
    and a bookmark stays good.
    """
    digest = hashlib.sha256(os.fsencode(home.root)).digest()
    return 5000 + int.from_bytes(digest[:4], "big") % 1000


def choose_port(asked: int | None, last: int | None, usual: int, host: str = HOST) -> int:
    """Return the port asked for, else the last one (so that clients find a restarted server), else a free one.

    Args:
        usual: where to begin to look for a free one.

    Raises:
        TrackingError: the port asked for is taken; names by whom, where the system tells.
    """
    if asked is not None:
        if _is_free(asked, host):
            return asked
        raise TrackingError(
            f"port {asked} of {host} is taken by {holder(asked)}",
            "choose another with --port, or leave --port out to have a free one found",
        )
    near = range(usual, usual + 10)
    for port in near if last is None else [last, *near]:
        if _is_free(port, host):
            return port
    with _bound(0, host) as free:
        return int(free.getsockname()[1])


def holder(port: int) -> str:
    """Name the program that listens on a port of this machine, as far as the system lets us see."""
    pid = None
    with suppress(psutil.Error):  # macOS shows it to root only
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
                pid = pid or connection.pid
    if pid is None:
        user = _listener(port)
        return "another program" if user is None else f"a program of user {user}"
    try:
        process = psutil.Process(pid)
        name = process.name()
        whose = "" if process.uids().real == os.getuid() else f" of user {process.username()}"
        with suppress(psutil.Error):
            # a home's server is started in its folder, beside its record
            if (record := Path(process.cwd()) / "server.json").is_file():
                name = f"the tracker server of {record.parent.parent}"
    except psutil.Error:
        return f"another program (pid {pid})"
    return f"{name} (pid {pid}){whose}"


def _listener(port: int) -> str | None:
    """Return the user who listens on a port; Linux tells it to everybody, the process only to that user."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for row in Path(table).read_text(encoding="utf-8").splitlines()[1:]:
                fields = row.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:  # 0A: LISTEN
                    try:
                        return pwd.getpwuid(int(fields[7])).pw_name
                    except KeyError:
                        return fields[7]
    return None


def _is_free(port: int, host: str) -> bool:
    with suppress(OSError), socket.create_connection((_near(host), port), timeout=1):
        return False
    try:
        _bound(port, host).close()
    except OSError:
        return False
    return True


def _bound(port: int, host: str) -> socket.socket:
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def _near(host: str) -> str:
    return {"0.0.0.0": HOST, "::": "::1"}.get(host, host)  # noqa: S104 (a wildcard is compared, not bound)
