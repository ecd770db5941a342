"""The port a home's server listens on."""

from __future__ import annotations

import hashlib
import os
import socket

from tracker.study.errors import TrackingError
from tracker.study.home import Home

HOST = "127.0.0.1"


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
