"""Named points in a trial's life at which a test can make something go wrong.

Nothing happens at a point unless the environment's TRACKER_FAULT names it, which only tests do:
`point=action`, or `point=action@3` for the third time it is reached; several with commas.
"""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter

VARIABLE = "TRACKER_FAULT"

POINTS = (
    "claimed",  # the ledger has the lease, nothing else knows of the cell yet
    "row-changed",  # inside a transaction of the ledger, between the cell's row and its trial
    "run-opened",  # MLflow has the run
    "resumed",  # the training state is back in memory
    "stepped",  # an optimizer step is done
    "epoch-trained",  # an epoch's result is in memory alone
    "best-written",  # the best weights are on disk, the training state is not
    "state-written",  # the training state is on disk, the epoch's metrics are not logged
    "epoch-journaled",  # the journal has the epoch, MLflow has not
    "epoch-logged",  # both have it
    "trained",  # the last epoch is logged, no file is
    "file-kept",  # a file is in the journal's keeping, not yet sent
    "file-sent",  # MLflow has a file, its hash is not yet compared
    "files-logged",  # all files are with the run
    "run-finished",  # MLflow has closed the run, the ledger still calls the cell RUNNING
    "settled",  # the ledger calls the cell COMPLETE, its training state is still on disk
    "cleaned",  # nothing is left to do
)
"""Every point, in the order a trial meets them; each lies between two writes."""

ACTIONS = ("kill", "stop", "term", "error", "disk-full", "memory", "device")

_reached: Counter[str] = Counter()


def reach(point: str) -> None:
    """Let a test's fault happen here.

    Actions: `kill` and `stop` send this process SIGKILL and SIGSTOP, `term` SIGTERM; `error`,
    `disk-full`, `memory` and `device` raise what Python, the system and torch would.

    Raises:
        ValueError: the environment names a point or an action that there is not.
    """
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    _reached[point] += 1
    for entry in wanted.split(","):
        name, action, nth = _read(entry)
        if name == point and _reached[point] == nth:
            _happen(action, point)


def forget() -> None:
    """Count from the first time again: for tests that share a process."""
    _reached.clear()


def _read(entry: str) -> tuple[str, str, int]:
    """Read one `point=action@nth`; a misspelt one would let a test pass on nothing."""
    name, _, action = entry.partition("=")
    action, _, nth = action.partition("@")
    if name not in POINTS or action not in ACTIONS or not (nth or "1").isdecimal() or nth == "0":
        raise ValueError(f"{VARIABLE}: {entry!r} is not POINT=ACTION or POINT=ACTION@NTH")
    return name, action, int(nth or 1)


def _happen(action: str, point: str) -> None:
    signals = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}
    if action in signals:
        os.kill(os.getpid(), signals[action])
    elif action == "error":
        raise RuntimeError(f"a fault injected at {point}")
    elif action == "disk-full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    elif action == "memory":
        raise MemoryError(f"a fault injected at {point}")
    else:
        raise RuntimeError(f"CUDA error: a fault injected at {point}")
