"""Talk to MLflow: bounded waiting, and errors that name the address."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tracker.study.errors import TrackingError
from tracker.study.printing import printable
from tracker.study.printing import shown as shown

READ_SECONDS = 60
"""A page of 1,000 runs takes a second or two of a busy server; a minute means that it hangs."""

CREDENTIALS = re.compile(r"://[^\s/]*@")
"""In an address that stands in a text."""

_waiting_lock = threading.RLock()
_limited: set[str] = set()
"""Variables that a `waiting` block has set at the moment, as opposed to the user."""


@lru_cache(maxsize=8)
def connect(uri: str) -> MlflowClient:
    """Return the client for `uri`, the same one each time. Sends nothing."""
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def waiting(seconds: int, retries: int = 0) -> Iterator[None]:
    """Bound how long each call to MLflow may take inside the block.

    By default MLflow retries for four minutes, which would stand in the way of a training. It
    takes its limits from the environment at each call, and from nowhere else; a limit that the
    user has set there stays. Blocks may be nested; threads take turns.
    """
    limits = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": seconds,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": retries,
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": 1,
    }
    with _waiting_lock:
        before = {name: os.environ.get(name) for name in limits if name not in os.environ or name in _limited}
        os.environ.update({name: str(limits[name]) for name in before})
        _limited.update(before)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is not None:
                    os.environ[name] = value
                else:
                    os.environ.pop(name, None)
                    _limited.discard(name)


@contextmanager
def talking_to(uri: str, seconds: int = READ_SECONDS, retries: int = 1) -> Iterator[MlflowClient]:
    """Yield the client for `uri`; what MLflow raises inside the block becomes a TrackingError.

    Raises:
        TrackingError: the server does not answer, or refuses; names the address.
    """
    try:
        with waiting(seconds, retries):
            yield connect(uri)
    except MlflowException as error:
        if error.get_http_status_code() in (401, 403):
            cure = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        elif uri.startswith("http"):
            cure = "start it (`tracker server start`), or unset or correct MLFLOW_TRACKING_URI"
        else:
            cure = None
        said = short(error).replace(uri.rstrip("/"), shown(uri).rstrip("/"))
        raise TrackingError(f"MLflow at {shown(uri)}: {said}", cure) from error


def check_reachable(uri: str, seconds: int = 5) -> None:
    """Ask MLflow at `uri` for one experiment.

    Raises:
        TrackingError: no answer within `seconds`, no credentials, or something that is not MLflow.
    """
    with talking_to(uri, seconds, retries=0) as client:
        client.search_experiments(max_results=1)


def short(error: Exception) -> str:
    """Return an error's first line without the nested reprs that requests and urllib3 add."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    text = printable(CREDENTIALS.sub("://", text))
    for sign, words in (
        ("Connection refused", "connection refused: nothing listens there"),
        ("timed out", "no answer in time"),
        ("NameResolutionError", "the host name is not known"),
        ("Failed to resolve", "the host name is not known"),
        ("RemoteDisconnected", "the connection was closed"),
        ("Connection reset", "the connection was reset"),
    ):
        if sign in text:
            return words
    return text if len(text) <= 300 else text[:297] + "..."
