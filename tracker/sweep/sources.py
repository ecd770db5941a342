"""The sources of a study's cells: found, or pre-trained before the cells that need them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock

from tracker.study.home import Home
from tracker.study.recipe import DatasetSpec, Recipe
from tracker.study.study import Cell
from tracker.training.execution import prepare, usual_execution
from tracker.training.selfcheck import with_usable_input
from tracker.training.splits import trial_data
from tracker.training.trial import EpochResult, build_classifier, run_epochs, target_statistics
from tracker.training.verdicts import agreed_execution
from tracker.vision.checkpoint import CheckpointFacts, save_checkpoint
from tracker.vision.images import ImageSet
from tracker.vision.raw_shift import open_shifted
from tracker.vision.sources import (
    Source,
    checkpoint_source,
    find_source,
    random_source,
    source_path,
    torchvision_source,
    weights_file,
)
from tracker.vision.statistics import repeated


@dataclass(frozen=True)
class SourceJob:
    """A source to pre-train.

    Args:
        name: as in the study.
        recipe: from random weights, z-scored with its own dataset's statistics.
        dataset: how its images are stored.
        identity: the hash of its content.
    """

    name: str
    recipe: Recipe
    dataset: DatasetSpec
    identity: str

    def path(self, home: Home) -> Path:
        """Return where its checkpoint is, or will be."""
        return source_path(home, self.name, self.recipe.model, self.identity)


def source_job(cell: Cell) -> SourceJob | None:
    """Return what `cell` needs pre-trained; None where its source comes from elsewhere."""
    if cell.source is None or cell.source_dataset is None or cell.source_id is None:
        return None
    return SourceJob(cell.recipe.source, cell.source, cell.source_dataset, cell.source_id)


def jobs_of(cells: Iterable[Cell]) -> list[SourceJob]:
    """Return the sources that cells pre-train, each once, in the cells' order."""
    return list({job.identity: job for cell in cells if (job := source_job(cell)) is not None}.values())


def cell_source(cell: Cell, home: Home, weights_dir: Path | None) -> Source:
    """Load the source a cell starts from.

    Raises:
        SourceMissing, DataDamaged, SourceError: it is not here or cannot be used.
    """
    recipe = cell.recipe
    if recipe.source == "random":
        return random_source(recipe.model)
    if recipe.source == "torchvision":
        file = weights_file(recipe.model, recipe.weights, home=home, weights_dir=weights_dir)
        return torchvision_source(recipe.model, file)
    job = source_job(cell)
    path = find_source(home, recipe.source, recipe.model) if job is None else job.path(home)
    return checkpoint_source(recipe.source, path)


@dataclass(frozen=True)
class Pretrained:
    """A source just made.

    Args:
        path: its checkpoint.
        facts: what the checkpoint says of itself.
        history: each epoch's metrics.
        selection: the run's metrics.
        seconds: wall time.
    """

    path: Path
    facts: CheckpointFacts
    history: list[dict[str, float]]
    selection: dict[str, float]
    seconds: float


def pretrain(job: SourceJob, home: Home, device: torch.device, on_epoch: Callable[[EpochResult], None]) -> Pretrained:
    """Train a source and keep the network of its last epoch, with the statistics it was normalized with.

    Writes: `job.path(home)`, atomically.
    """
    started = time.monotonic()
    images = open_shifted(job.recipe, job.dataset, home)
    data = trial_data(job.recipe, images, device)
    classifier = build_classifier(job.recipe, images, random_source(job.recipe.model))
    usual = usual_execution(device)
    usual = with_usable_input(job.recipe, classifier, data.train, usual, lambda _: None)
    execution = agreed_execution(job.recipe, classifier, data.train, device, usual)
    prepare(classifier, device, execution, job.recipe.precision)
    history = []
    for result in run_epochs(job.recipe, classifier, data, device, execution=execution):
        history.append(result.metrics)
        on_epoch(result)
    facts = checkpoint_facts(
        job.recipe, images, None, channels=classifier.channels, epoch=result.epoch,
        test_acc=result.metrics["test_acc"], identity=job.identity,
    )  # fmt: skip
    path = job.path(home)
    home.make(path.parent)
    with FileLock(path.with_suffix(".lock")):
        save_checkpoint(path, classifier.state_dict(), facts)
    return Pretrained(path, facts, history, result.selection.metrics(), time.monotonic() - started)


def checkpoint_facts(
    recipe: Recipe,
    images: ImageSet,
    source: Source | None,
    *,
    channels: int,
    epoch: int,
    test_acc: float,
    identity: str,
) -> CheckpointFacts:
    """Gather what a checkpoint of `recipe` says of itself."""
    statistics = None if source is None or source.statistics is None else repeated(source.statistics, channels)
    return CheckpointFacts(
        model=recipe.model,
        channels=channels,
        image_size=images.image_size,
        classes=images.classes,
        normalization=recipe.normalization,
        target=repeated(target_statistics(recipe, images), channels),
        source=statistics,
        dataset=recipe.dataset,
        fingerprint=images.fingerprint,
        epoch=epoch,
        test_acc=test_acc,
        recipe=recipe.model_dump(mode="json"),
        identity=identity,
    )
