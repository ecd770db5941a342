"""What a worker tells the process that started it: small frozen facts, pickled over a pipe."""

from __future__ import annotations

from dataclasses import dataclass, field


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
class EpochDone:
    """One epoch is done and logged; accuracies are fractions."""

    cell_id: str
    name: str
    epoch: int
    epochs: int
    test_acc: float
    best_acc: float
    seconds: float


@dataclass(frozen=True)
class CellDone:
    """A cell is complete: in MLflow and in the ledger."""

    cell_id: str
    name: str
    metrics: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class CellFailed:
    """A cell failed; the others go on."""

    cell_id: str
    name: str
    kind: str
    message: str


@dataclass(frozen=True)
class CellReleased:
    """A cell was given back unfinished, because the sweep was asked to stop."""

    cell_id: str
    name: str


@dataclass(frozen=True)
class Notice:
    """A sentence for the user."""

    text: str


@dataclass(frozen=True)
class WorkerEnded:
    """A worker's process is gone; `exitcode` as multiprocessing has it (negative: killed by that signal)."""

    worker: str
    exitcode: int
    cell_id: str | None = field(default=None)


Event = WorkerReady | CellStarted | EpochDone | CellDone | CellFailed | CellReleased | Notice | WorkerEnded
