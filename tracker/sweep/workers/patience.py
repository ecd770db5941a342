"""Ask a database that may be locked or away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tracker.study.errors import LeaseLost, LedgerError

PATIENCE_SECONDS = 600.0
"""How long a worker waits before it gives up: its lease has run out long before, its state is on disk."""

LAST_SECONDS = 15.0
"""The same for a worker that has been asked to stop."""

MAX_PAUSE_SECONDS = 30.0

Answer = TypeVar("Answer")


class Patience:
    """Repeats what is asked of the ledger until it answers.

    Args:
        stop: set when the worker should end.
        tell: told once that it waits, and why.
    """

    def __init__(self, stop: threading.Event, tell: Callable[[str], None]) -> None:
        self._stop = stop
        self._tell = tell

    def __call__(self, ask: Callable[[], Answer]) -> Answer:
        """Return the answer.

        Raises:
            LeaseLost: at once, since that is an answer.
            LedgerError: there was none for PATIENCE_SECONDS, or LAST_SECONDS of a worker that should end.
        """
        started = time.monotonic()
        pause = 1.0
        while True:
            try:
                return ask()
            except LeaseLost:
                raise
            except LedgerError as error:
                patience = LAST_SECONDS if self._stop.is_set() else PATIENCE_SECONDS
                if time.monotonic() + pause - started > patience:
                    raise
                if pause == 1.0:
                    self._tell(f"waiting for the trial database: {error.message}")
                time.sleep(pause)
                pause = min(pause * 2, MAX_PAUSE_SECONDS)
