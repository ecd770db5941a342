"""What can happen to a run, as plain records that a journal line holds whole."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import Literal

from tracker.study.plain import parse_json

Status = Literal["FINISHED", "FAILED", "KILLED"]
"""How a run ends, in MLflow's words; while it goes on it is RUNNING."""


@dataclass(frozen=True)
class Open:
    """A run begins, or goes on after an interruption.

    Args:
        key: tells this run from all others; opening the same key again continues the same run.
        store: which MLflow it belongs to, as `server.store_name` calls it.
        start_time: milliseconds since 1970, like every time here.
        experiment_tags: given to the experiment when it has to be created.
        token: grows with each opening of the same key, wherever; who has a smaller one comes late.
        shared: several processes of a home may have it open at once; the last one out ends it.
    """

    key: str
    store: str
    experiment: str
    name: str
    start_time: int
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    experiment_tags: dict[str, str] = field(default_factory=dict)
    token: int = 0
    shared: bool = False


@dataclass(frozen=True)
class Metrics:
    """Numbers of one step. Time, step and value together make sending them twice harmless."""

    time: int
    step: int
    values: dict[str, float]


@dataclass(frozen=True)
class Tags:
    """Tags set, or set anew."""

    tags: dict[str, str]


@dataclass(frozen=True)
class Data:
    """The image set that the run uses, for MLflow's dataset column.

    Args:
        digest: the fingerprint, at most 36 characters.
        context: "train", "test" or "val".
        source: where it lies, any JSON.
        profile: numbers about it, any JSON.
        schema: of its images and labels, JSON in MLflow's form; journals of earlier versions have none.
    """

    name: str
    digest: str
    context: str
    source: str
    profile: str
    schema: str | None = None


@dataclass(frozen=True)
class File:
    """A file to store with the run.

    Args:
        path: relative to the journal's folder of kept files.
        folder: among the run's artifacts; "" is the top.
    """

    path: str
    folder: str


@dataclass(frozen=True)
class Finish:
    """The run ends."""

    status: Status
    end_time: int


Event = Open | Metrics | Tags | Data | File | Finish
_KINDS = {kind.__name__.lower(): kind for kind in (Open, Metrics, Tags, Data, File, Finish)}


def to_line(event: Event) -> bytes:
    """Return the event as one line of JSON; NaN and Infinity stand for themselves."""
    return json.dumps({"event": type(event).__name__.lower(), **asdict(event)}).encode() + b"\n"


def from_line(line: bytes) -> Event:
    """Read one line back.

    Raises:
        ValueError: it is not an event.
    """
    try:
        fields = parse_json(line)
        return _KINDS[fields.pop("event")](**fields)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not an event: {error}") from error


def now() -> int:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
