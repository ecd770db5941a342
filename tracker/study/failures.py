"""How an attempt at a cell can fail, and what is done about each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FailureClass = Literal["exception", "not-finite", "missing-data", "out-of-memory", "device", "lost-worker"]

FAILURES: dict[FailureClass, str] = {
    "exception": "the trial raised an error; its traceback is an artifact of the run",
    "not-finite": "the training loss is not finite",
    "missing-data": "a dataset or source cannot be read on this machine",
    "out-of-memory": "the device or the machine has too little memory for it",
    "device": "the device failed; it is set aside",
    "lost-worker": "its worker died or fell silent, and its lease ran out",
}
"""Each class, and what it means. To be asked to stop (Ctrl-C, SIGTERM, pre-emption, pause) is no failure."""

MACHINE_FAILURES: frozenset[FailureClass] = frozenset(("out-of-memory", "device", "lost-worker"))
"""Failures of the machine rather than of the cell: the cell is tried again, from its last durable epoch."""


@dataclass(frozen=True)
class Failure:
    """Why an attempt ended badly.

    Args:
        kind: the exception's name, or what took its place.
        message: one line.
    """

    failure_class: FailureClass
    kind: str
    message: str


@dataclass(frozen=True)
class RetryPolicy:
    """How often and when a cell is tried again after a failure.

    Args:
        max_attempts: attempts that may fail before the cell counts as failed, at least 1.
        wait_seconds: before the second attempt; doubled before each further one.
        max_wait_seconds: the longest wait.
        retry_exceptions: try again after an exception of the trial too.
    """

    max_attempts: int = 3
    wait_seconds: float = 5.0
    max_wait_seconds: float = 600.0
    retry_exceptions: bool = False

    def wait_after(self, failure_class: FailureClass, failures: int) -> float | None:
        """Return the seconds to wait before the next attempt; None where there is none.

        Args:
            failures: attempts that have failed, this one counted.
        """
        again = failure_class in MACHINE_FAILURES or (failure_class == "exception" and self.retry_exceptions)
        if not again or failures >= self.max_attempts:
            return None
        doublings = min(failures - 1, 60)  # beyond is longer than any wait, and at 1,024 no float any more
        return min(self.wait_seconds * 2.0**doublings, self.max_wait_seconds)
