"""Everything that can be known to go wrong before a sweep spends an hour, found at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from tracker.study.errors import DiskFull, PreflightError, TrackerError, UsageError
from tracker.study.extensions import installed
from tracker.study.home import Home
from tracker.study.recipe import DatasetSpec, Precision
from tracker.study.study import Cell, Study
from tracker.sweep.own_parts import probe_own_model, probe_own_normalization
from tracker.sweep.probes import StartingPoint, probe_batch, probe_normalizations
from tracker.sweep.sources import cell_source, jobs_of, source_job
from tracker.training.device import resolve_device
from tracker.training.precision import require_precision, slowness
from tracker.training.trial import target_statistics
from tracker.vision.datasets import datasets_of, open_dataset
from tracker.vision.images import ImageSet
from tracker.vision.models import check_model, without_weights
from tracker.vision.progress import Progress, silent
from tracker.vision.raw_shift import apply_shift
from tracker.vision.sources import weights_file


@dataclass(frozen=True)
class Checked:
    """What preflight opened: the device, and the image sets by name."""

    device: torch.device
    images: dict[str, ImageSet]


def preflight(
    study: Study,
    cells: Sequence[Cell],
    home: Home,
    *,
    device: str,
    weights_dir: Path | None = None,
    disk_bytes: int = 0,
    min_free_bytes: int = 0,
    say: Callable[[str], None] = lambda _: None,
    progress: Progress = silent,
) -> Checked:
    """Check device, data, weights, normalizations, batches and disk for the cells to do.

    Args:
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        disk_bytes: what the cells are estimated to need.
        min_free_bytes: to be left free beside it.
        say: told what is being looked at.
        progress: shows how far packing a dataset is.

    Raises:
        UsageError: no such model or weights: the study is wrong, whatever the machine.
        PreflightError: carries every obstacle found, each with its cure.
    """
    check_models(study)
    obstacles: list[TrackerError] = []

    def attempt(check: Callable[[], None]) -> None:
        try:
            check()
        except UsageError:
            raise
        except PreflightError as error:
            obstacles.extend(error.obstacles)
        except TrackerError as error:
            obstacles.append(error)

    resolved: list[torch.device] = []
    attempt(lambda: resolved.append(resolve_device(device)))
    for precision in _precisions(cells, home) if resolved else ():
        attempt(partial(require_precision, precision, resolved[0]))
        if reason := slowness(precision, resolved[0]):
            say(reason)
    images: dict[str, ImageSet] = {}
    for name, spec in datasets_of(cells).items():
        say(f"checking dataset {name}")
        attempt(partial(open_into, images, name, spec, home, progress))
    for cell in one_per(cells, lambda cell: (cell.recipe.model, cell.recipe.source, cell.recipe.weights)):
        attempt(partial(_check_source, cell, home, weights_dir))
    attempt(partial(_check_disk, home, disk_bytes + min_free_bytes))
    if obstacles:  # what follows needs all of the above
        raise PreflightError(obstacles)
    normalizations = list(dict.fromkeys(cell.recipe.normalization for cell in study.cells))
    for cell in one_per(cells, lambda cell: cell.recipe.model_copy(update={"seed": 0, "normalization": "minmax"})):
        say(f"checking {cell.recipe.model} on {cell.recipe.dataset}, tune {cell.recipe.tune}")
        start = starting_point(cell, images, home, weights_dir)
        image_set = apply_shift(images[cell.recipe.dataset], cell.recipe.shift)
        own = len(obstacles)
        for name in normalizations:
            attempt(partial(probe_own_normalization, name, cell.recipe, image_set, start))
        attempt(partial(probe_own_model, cell.recipe, image_set, start))
        if len(obstacles) > own:
            continue  # what follows would say the same in other words
        attempt(partial(probe_normalizations, normalizations, cell.recipe, image_set, start))
        attempt(partial(probe_batch, cell.recipe, image_set, start))
    if obstacles:
        raise PreflightError(obstacles)
    return Checked(resolved[0], images)


def _precisions(cells: Sequence[Cell], home: Home) -> list[Precision]:
    """Return what cells compute in, and sources that are still to be pre-trained, each once."""
    jobs = [job.recipe for job in jobs_of(cells) if not job.path(home).is_file()]
    return list(dict.fromkeys(recipe.precision for recipe in [*(cell.recipe for cell in cells), *jobs]))


def check_models(study: Study) -> None:
    """Refuse a model that there is not, before anything is looked for on this machine.

    Raises:
        UsageError: neither torchvision nor an installed package has it, or it is to start from torchvision's
            weights and has none.
        TrackerError: two have it.
    """
    for model, source in dict.fromkeys((cell.recipe.model, cell.recipe.source) for cell in study.cells):
        try:
            check_model(model)
            if source == "torchvision" and model in installed("tracker.models"):
                raise without_weights(model)
        except UsageError as error:
            raise UsageError(f"study {study.name}: {error.message}", error.cure) from None


def open_into(
    images: dict[str, ImageSet], name: str, spec: DatasetSpec, home: Home, progress: Progress = silent
) -> None:
    """Open one dataset, packed first if need be, its checksums verified."""
    images[name] = open_dataset(name, spec, home, verify=True, progress=progress)


def one_per(cells: Iterable[Cell], key: Callable[[Cell], object]) -> list[Cell]:
    """Return the first cell of each key."""
    return list({key(cell): cell for cell in reversed(list(cells))}.values())[::-1]


def starting_point(cell: Cell, images: dict[str, ImageSet], home: Home, weights_dir: Path | None) -> StartingPoint:
    """Return a source's channels and statistics, also of one that is still to be pre-trained."""
    job = source_job(cell)
    if job is not None:
        image_set = apply_shift(images[job.recipe.dataset], job.recipe.shift)
        return StartingPoint(image_set.channels, target_statistics(job.recipe, image_set))
    if cell.recipe.source == "torchvision":
        file = weights_file(cell.recipe.model, cell.recipe.weights, home=home, weights_dir=weights_dir)
        return StartingPoint(file.statistics.channels, file.statistics)
    source = cell_source(cell, home, weights_dir)
    return StartingPoint(source.channels or images[cell.recipe.dataset].channels, source.statistics)


def _check_source(cell: Cell, home: Home, weights_dir: Path | None) -> None:
    job = source_job(cell)
    if job is None or job.path(home).is_file():
        cell_source(cell, home, weights_dir)


def _check_disk(home: Home, needed: int) -> None:
    home.make(home.root)
    probe = home.root / ".write-test"
    try:
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise TrackerError(
            f"{home.root}: cannot be written to: {error.strerror}", "another place: --home DIR"
        ) from error
    free = shutil.disk_usage(home.root).free
    if free < needed:
        raise DiskFull(
            f"{home.root}: {free / 1e9:.1f} GB free, about {needed / 1e9:.1f} GB needed",
            "free some space, keep less (--keep none), or another place: --home DIR",
        )
