"""Before a machine takes cells of a study that was enrolled elsewhere: what is left of it, and is this machine fit?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tracker.ledger.ledger import Ledger
from tracker.study.errors import PreflightError, SourceMissing, TrackerError
from tracker.study.home import Home
from tracker.study.study import Cell, Study
from tracker.sweep.preflight import Checked, preflight
from tracker.sweep.pretraining import obtain_source
from tracker.sweep.sizes import sweep_bytes
from tracker.sweep.sources import jobs_of
from tracker.sweep.workers.config import CellSettings
from tracker.vision.progress import Progress, silent


def open_cells(ledger: Ledger, study: Study) -> list[Cell]:
    """Return the cells that are not settled, those of other workers too: they may come back."""
    open_ids = {row.cell_id for row in ledger.rows(study.name) if row.state in ("WAITING", "RUNNING")}
    return [cell for cell in study.cells if cell.id in open_ids]


def check_fitness(
    study: Study,
    cells: Sequence[Cell],
    home: Home,
    uri: str,
    *,
    device: str,
    weights_dir: Path | None,
    settings: CellSettings,
    say: Callable[[str], None] = lambda _: None,
    progress: Progress = silent,
) -> Checked:
    """See that this machine has what the cells need, the sources that were pre-trained elsewhere fetched from MLflow.

    A cell that found something missing would count as failed, one after the other.

    Raises:
        PreflightError: it lacks something; carries every obstacle.
    """
    missing: list[TrackerError] = [
        SourceMissing(
            f"source {job.name} for {job.recipe.model} is neither here nor in MLflow",
            f"tracker pretrain --study {study.name}, or tracker sweep --study {study.name} --enroll-only",
        )
        for job in jobs_of(cells)
        if not obtain_source(job, home, uri)
    ]
    if missing:
        raise PreflightError(missing)
    return preflight(
        *(study, cells, home),
        device=device,
        weights_dir=weights_dir,
        disk_bytes=sweep_bytes(cells[:1], 1, settings.keep),
        min_free_bytes=settings.min_free_bytes,
        say=say,
        progress=progress,
    )
