"""How a study is swept, as the user asked for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tracker.sweep.workers.config import CellSettings


@dataclass(frozen=True)
class SweepOptions:
    """How a study is swept.

    Args:
        device: as it was asked for; on plain `cuda` or `auto` workers are spread over the devices.
        workers: processes at once; None for `trials_per_device` on each device, 0 for none here.
        storage: URL of the trial database; None for the local one.
        executor: where the workers run.
        address: of the Ray cluster; None starts or finds one on this machine.
        replace: let a changed recipe take the place of the study's earlier one.
        deadline: instant of `time.monotonic()` at which the workers are asked to stop, as at Ctrl-C: cells in
            progress keep their state and are given back; None for no limit. Local workers only.
    """

    device: str = "auto"
    workers: int | None = 1
    trials_per_device: int = 1
    weights_dir: Path | None = None
    storage: str | None = None
    executor: Literal["local", "ray"] = "local"
    address: str | None = None
    replace: bool = False
    deadline: float | None = None
    settings: CellSettings = field(default_factory=CellSettings)
