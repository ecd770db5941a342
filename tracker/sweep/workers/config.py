"""All a worker needs to know, picklable."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracker.study.failures import RetryPolicy
from tracker.sweep.workers.cell import Keep
from tracker.tracking.writing import StudyPlace


@dataclass(frozen=True)
class CellSettings:
    """How cells are run, whatever they are.

    Args:
        lease_seconds: how long a silent worker keeps its cell.
        policy: how often a cell is tried again after a failure.
        keep: which checkpoints become artifacts.
        accelerate: `auto`, `plain`, or names of accelerations with commas.
        min_free_bytes: a worker waits while less is free on its disk.
        share_seconds: how often the state of a running cell is left in the artifact store, so that
            another machine can go on with it.
    """

    lease_seconds: float = 60.0
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    keep: Keep = "best"
    accelerate: str = "auto"
    min_free_bytes: int = 512 << 20
    share_seconds: float = 600.0


@dataclass(frozen=True)
class CrewConfig:
    """What all workers of a sweep have in common, picklable.

    Args:
        document: the study, as `Study.document()`.
        home: the home folder.
        tracking_uri: the MLflow server.
        place: the study's experiment and run there, where known.
        ledger_url: the trial database.
        weights_dir: where torchvision's weights are looked for; None for the usual places.
        shares: leave states in the artifact store; needless where all workers have one disk.
    """

    document: dict[str, Any]
    home: Path
    tracking_uri: str
    place: StudyPlace | None
    ledger_url: str
    weights_dir: Path | None = None
    settings: CellSettings = field(default_factory=CellSettings)
    shares: bool = False


@dataclass(frozen=True)
class WorkerConfig:
    """All a worker needs, picklable.

    Args:
        name: unique among living workers; the ledger's owner of a lease.
        crew: what it has in common with the others.
        device: resolved: `cpu` or `cuda:N`.
        device_place: the device's name among all machines.
        threads: CPU threads this worker may use.
        shares_device: other workers of this sweep have the same device.
        burst: end as soon as no cell can be taken, even if one will have to be tried again.
        max_cells: end after so many.
        max_idle: end after so many seconds without a cell; None ends when none waits.
    """

    name: str
    crew: CrewConfig
    device: str
    device_place: str
    threads: int
    shares_device: bool = False
    burst: bool = False
    max_cells: int | None = None
    max_idle: float | None = None
