"""One cell's work: train it, and hand every number and file to its run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tracker.figures.confusion import confusion_matrix
from tracker.figures.curve import learning_curve
from tracker.study.home import Home, replacing
from tracker.study.recipe import DatasetSpec
from tracker.study.study import Cell
from tracker.sweep.sources import cell_source, checkpoint_facts
from tracker.training.splits import TrialData, trial_data
from tracker.training.trial import EpochResult, build_classifier, run_epochs
from tracker.vision.checkpoint import save_checkpoint
from tracker.vision.datasets import open_dataset
from tracker.vision.images import ImageSet
from tracker.vision.sources import Source

ARTIFACTS = {
    "best.safetensors": "checkpoint",
    "predictions.npz": "predictions",
    "confusion_matrix.png": "figures",
    "learning_curve.png": "figures",
}
"""A cell's files, each with its folder among the run's artifacts."""


class RunLog(Protocol):
    """What a cell needs of its MLflow run."""

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None: ...

    def log_file(self, path: Path, folder: str = "") -> None: ...

    def set_tags(self, tags: Mapping[str, str]) -> None: ...

    def log_dataset(
        self, name: str, fingerprint: str, context: str = "train", profile: Mapping[str, Any] | None = None
    ) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """What a finished cell gave: the run's metrics, and its wall time in seconds."""

    metrics: dict[str, float]
    seconds: float


class Workbench:
    """What a worker keeps between cells: opened image sets, their copies on the device, loaded sources."""

    def __init__(self, home: Home, device: torch.device, weights_dir: Path | None) -> None:
        self.home = home
        self.device = device
        self._weights_dir = weights_dir
        self._images: dict[str, ImageSet] = {}
        self._data: tuple[tuple[object, ...], TrialData] | None = None
        self._source: tuple[tuple[object, ...], Source] | None = None

    def images(self, name: str, spec: DatasetSpec) -> ImageSet:
        """Open a dataset once."""
        if name not in self._images:
            self._images[name] = open_dataset(name, spec, self.home)
        return self._images[name]

    def data(self, cell: Cell, images: ImageSet) -> TrialData:
        """Move a cell's splits to the device; the last ones are kept, since neighbours share them."""
        recipe = cell.recipe
        key = (recipe.dataset, recipe.limit_train, recipe.limit_test, recipe.val_fraction)
        if self._data is None or self._data[0] != key:
            self._data = None  # free the old ones before the new ones are made
            self._data = (key, trial_data(recipe, images, self.device))
        return self._data[1]

    def source(self, cell: Cell) -> Source:
        """Load a cell's source; the last one is kept, since neighbours share it."""
        key = (cell.recipe.source, cell.recipe.model, cell.recipe.weights, cell.source_id)
        if self._source is None or self._source[0] != key:
            self._source = (key, cell_source(cell, self.home, self._weights_dir))
        return self._source[1]


def train_cell(
    cell: Cell,
    bench: Workbench,
    run: RunLog,
    on_epoch: Callable[[EpochResult], None],
    stop: Callable[[], bool],
) -> Outcome:
    """Train one cell from its source to its last epoch, logging as it goes.

    Raises:
        Stopped: `stop` said so.
        TrackerError: data or source cannot be used, or the loss is not finite.

    Writes: checkpoint, predictions and figures, as artifacts of the run.
    """
    started = time.monotonic()
    recipe = cell.recipe
    images = bench.images(recipe.dataset, cell.dataset)
    source = bench.source(cell)
    data = bench.data(cell, images)
    run.set_tags(
        {
            "dataset.fingerprint": images.fingerprint,
            "source.fingerprint": source.fingerprint,
            "tracker.train_images": str(len(data.train)),
            "tracker.val_images": str(0 if data.val is None else len(data.val)),
            "tracker.test_images": str(len(data.test)),
        }
    )
    profile = {"classes": len(images.classes), "channels": images.channels, "image_size": images.image_size}
    # MLflow keeps one context for each digest, so the test split has one of its own.
    for context, split, digest in (("train", data.train, ""), ("test", data.test, "-test")):
        run.log_dataset(recipe.dataset, images.fingerprint + digest, context, {**profile, "images": len(split)})

    classifier = build_classifier(recipe, images, source).to(bench.device)
    history: list[dict[str, float]] = []
    kept: dict[str, Tensor] = {}
    predictions: dict[str, Tensor] = {}
    for result in run_epochs(recipe, classifier, data, bench.device, stop):
        history.append(result.metrics)
        predictions["last"] = result.predictions
        if result.is_best:
            predictions["best"] = result.predictions
            kept = {name: tensor.detach().clone() for name, tensor in classifier.state_dict().items()}
        if result.is_selected:
            predictions["selected"] = result.predictions
        # best_acc is logged as a running maximum: a search of runs sees a metric's latest value only.
        run.log_epoch(result.epoch, {**result.metrics, **result.selection.metrics()})
        on_epoch(result)
    chosen = result.selection

    facts = checkpoint_facts(
        recipe,
        images,
        source,
        channels=classifier.channels,
        epoch=chosen.best_epoch,
        test_acc=chosen.best_acc,
        identity=cell.id,
    )
    with tempfile.TemporaryDirectory(dir=bench.home.make(bench.home.work), prefix=f"{cell.id}-") as folder:
        place = Path(folder)
        save_checkpoint(place / "best.safetensors", kept, facts)
        save_predictions(place / "predictions.npz", data, predictions)
        best = predictions["best"].numpy()
        confusion_matrix(
            count_confusions(data.test.labels.cpu().numpy(), best, len(images.classes)),
            images.classes,
            place / "confusion_matrix.png",
            title=f"{cell.name}\nepoch {chosen.best_epoch}, best on the test split",
        )
        curves = {name: [metrics[name] for metrics in history] for name in history[0]}
        learning_curve(curves, place / "learning_curve.png", title=cell.name, best_epoch=chosen.best_epoch)
        for name, where in ARTIFACTS.items():
            run.log_file(place / name, where)
    return Outcome(metrics=chosen.metrics(), seconds=time.monotonic() - started)


def save_predictions(path: Path, data: TrialData, predictions: dict[str, Tensor]) -> None:
    """Keep which class each test image was given at the best, last and selected epoch, for paired tests.

    Writes: `path`, a numpy archive without pickles: `index` (position in the dataset's test split),
    `labels`, and `best`, `last`, `selected` (there with a validation split), int32, (N,).
    """
    arrays = {"index": data.test_index, "labels": data.test.labels.cpu().numpy()}
    arrays |= {rule: predicted.numpy() for rule, predicted in predictions.items()}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, allow_pickle=False, **{name: array.astype(np.int32) for name, array in arrays.items()}
        )


def count_confusions(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return int64, (K, K): rows are true classes, columns predicted ones."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)
