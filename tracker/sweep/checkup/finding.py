"""One line of what `tracker doctor` found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Args:
        level: ok; warning: a sweep runs, but worse than it could; problem: it does not.
        cure: what to do about it; None where nothing need be done.
    """

    topic: str
    level: Level
    message: str
    cure: str | None = None
