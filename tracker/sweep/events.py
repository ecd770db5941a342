"""What a worker tells the process that started it: small frozen facts, pickled over a pipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tracker.study.failures import FailureClass

if TYPE_CHECKING:
    from tracker.training.trial import EpochResult  # torch, which the process that is told need not load


@dataclass(frozen=True)
class WorkerReady:
    """A worker has imported what it needs and begins to take cells."""

    worker: str
    device: str


@dataclass(frozen=True)
class CellStarted:
    """A worker holds a cell's lease and begins."""

    worker: str
    cell_id: str
    name: str
    epochs: int
    attempt: int


@dataclass(frozen=True)
class CellResumed:
    """A cell goes on where an earlier attempt ended.

    Args:
        done: epochs that need not be trained again.
        origin: where its training state was found.
    """

    cell_id: str
    name: str
    done: int
    epochs: int
    origin: Literal["this machine", "the artifact store"]


@dataclass(frozen=True)
class EpochDone:
    """One epoch is done, durable and logged; accuracies are fractions."""

    cell_id: str
    name: str
    epoch: int
    epochs: int
    test_acc: float
    best_acc: float
    seconds: float

    @classmethod
    def of(cls, cell_id: str, name: str, epochs: int, result: EpochResult) -> EpochDone:
        """Return what there is to tell of an epoch's result."""
        metrics = result.metrics
        best_acc = result.selection.best_acc
        return cls(cell_id, name, result.epoch, epochs, metrics["test_acc"], best_acc, metrics["epoch_seconds"])


@dataclass(frozen=True)
class CellDone:
    """A cell is complete: in MLflow, or in the journal on its way there, and in the ledger."""

    cell_id: str
    name: str
    metrics: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class CellFailed:
    """An attempt at a cell failed; the others go on.

    Args:
        again_in: seconds until it may be tried again; None where it counts as failed.
    """

    cell_id: str
    name: str
    failure_class: FailureClass
    kind: str
    message: str
    again_in: float | None = None


@dataclass(frozen=True)
class CellReleased:
    """A cell was given back unfinished: it goes on later where it stands.

    Args:
        why: as a person would say it.
    """

    cell_id: str
    name: str
    why: str


@dataclass(frozen=True)
class MlflowAway:
    """MLflow does not answer and results wait in the journal; with `pending` 0 it has all of them again."""

    worker: str
    pending: int


@dataclass(frozen=True)
class WorkerHeld:
    """A worker waits, its cell in hand, until something is mended; with `reason` None it goes on."""

    worker: str
    reason: str | None


@dataclass(frozen=True)
class Notice:
    """A sentence for the user."""

    text: str


@dataclass(frozen=True)
class WorkerLeft:
    """A worker ends early, and should not be replaced as it was.

    Args:
        device: the one it ran on.
        why: the device failed, or is too small for so many trials at once.
    """

    worker: str
    device: str
    why: Literal["device", "crowded"]


@dataclass(frozen=True)
class WorkerEnded:
    """A worker's process is gone; `exitcode` as multiprocessing has it (negative: killed by that signal)."""

    worker: str
    exitcode: int
    cell_id: str | None = field(default=None)


Event = (
    WorkerReady | CellStarted | CellResumed | EpochDone | CellDone | CellFailed | CellReleased
    | MlflowAway | WorkerHeld | Notice | WorkerLeft | WorkerEnded
)  # fmt: skip
