"""How long work on image sets tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Step:
    """How far a task is.

    Args:
        task: what is being done, as `download cifar-10-python.tar.gz`; the same text until it is done.
        done, total: in `unit`; total is 0 where it is not known.
    """

    task: str
    done: int
    total: int
    unit: Literal["bytes", "images", "runs", "files"]


Progress = Callable[[Step], None]


def silent(step: Step) -> None:
    """Show nothing."""
