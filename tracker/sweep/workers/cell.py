"""One cell's work: train it, and hand every number and file to its run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from torch import Tensor

from tracker.figures.confusion import confusion_matrix
from tracker.figures.curve import learning_curve
from tracker.study.errors import Stopped
from tracker.study.extensions import extension_versions
from tracker.study.faults import reach
from tracker.study.home import replacing
from tracker.study.recipe import PROTOCOL
from tracker.study.study import Cell
from tracker.sweep.sources import checkpoint_facts
from tracker.sweep.workers.durable import DurableState, Keeping, Origin
from tracker.sweep.workers.workbench import Workbench
from tracker.training.execution import prepare
from tracker.training.splits import TrialData
from tracker.training.state import TrialState
from tracker.training.trial import EpochResult, build_classifier, build_optimizer, run_epochs
from tracker.vision.checkpoint import save_checkpoint
from tracker.vision.images import ImageSet
from tracker.vision.models import Classifier
from tracker.vision.sources import Source

ARTIFACTS = {
    "best.safetensors": "checkpoint",
    "last.safetensors": "checkpoint",
    "predictions.npz": "predictions",
    "confusion_matrix.png": "figures",
    "learning_curve.png": "figures",
}
"""A cell's files, each with its folder among the run's artifacts."""

Keep = Literal["best", "last", "both", "none"]

KEPT: dict[Keep, tuple[str, ...]] = {"best": ("best",), "last": ("last",), "both": ("best", "last"), "none": ()}
"""Which checkpoints a finished cell leaves; its training state goes in any case."""


class RunLog(Protocol):
    """What a cell needs of its MLflow run."""

    def log_epoch(self, epoch: int, metrics: Mapping[str, float], time: int | None = None) -> object: ...

    def log_history(self, history: Sequence[tuple[int, Mapping[str, float]]]) -> None: ...

    def log_file(self, path: Path, folder: str = "") -> None: ...

    def set_tags(self, tags: Mapping[str, str]) -> None: ...

    def log_dataset(
        self, name: str, fingerprint: str, context: str = "train", profile: Mapping[str, Any] | None = None
    ) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """What a finished cell gave: the run's metrics, and its wall time in seconds, all attempts together."""

    metrics: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Attempt:
    """What one try at a cell is given by its worker.

    Args:
        number: which try it is, from 1.
        last_epoch: the last durable epoch of earlier attempts, counted from 0, as far as the ledger knows.
        micro_batches: parts a batch is trained in, more than 1 where memory was too small for it.
        accelerate: what `parse_execution` reads.
        keep: which checkpoints become artifacts.
        keeping: how the training state is kept.
        stop: asked before each step.
        durable: told of each epoch that need not be trained again.
        on_resume: told of epochs done before, and where their state was found.
        on_epoch: told of each epoch when it is logged.
    """

    number: int
    last_epoch: int | None
    micro_batches: int
    accelerate: str
    keep: Keep
    keeping: Keeping
    stop: Callable[[], bool]
    durable: Callable[[int], None]
    on_resume: Callable[[int, Origin], None]
    on_epoch: Callable[[EpochResult], None]


def train_cell(cell: Cell, bench: Workbench, run: RunLog, attempt: Attempt) -> Outcome:
    """Train one cell from where it stands to its last epoch, durable and logged after each.

    The state is on disk before the epoch is logged, so what is logged is never trained again; both
    are done while the next epoch is trained. What earlier attempts logged is logged again with its
    old time, which changes nothing where it had arrived.

    Raises:
        Stopped: `attempt.stop` said so; the state is durable.
        LeaseLost: the cell is another worker's.
        TrackerError: data or source cannot be used, or the loss is not finite.

    Writes: the training state; checkpoint, predictions and figures, as artifacts of the run.
    """
    started = time.monotonic()
    recipe = cell.recipe
    images = bench.images(recipe, cell.dataset)
    source = bench.source(cell)
    data = bench.data(cell, images)
    _describe(run, cell, images, source, data, attempt.micro_batches)

    classifier = build_classifier(recipe, images, source)
    shift = bench.shifts.measure(recipe, cell.dataset, images, source, classifier)
    if shift is not None:
        run.set_tags({"tracker.shift_reference": shift.known})
    execution = bench.execution(recipe, classifier, data, attempt.accelerate, attempt.keeping.say)
    run.set_tags({"tracker.execution": str(execution)})
    prepare(classifier, bench.device, execution, recipe.precision)
    optimizer = build_optimizer(recipe, classifier, execution)
    identity = {"cell": cell.id, "dataset": images.fingerprint, "source": source.fingerprint}
    with DurableState(attempt.keeping, identity, attempt.number, attempt.last_epoch, classifier, optimizer) as kept:
        state = kept.state
        earlier_seconds = state.seconds
        reach("resumed")
        if state.position.epoch or state.position.step:
            attempt.on_resume(state.position.epoch, kept.origin)
        run.log_history(state.history)
        try:
            for result in run_epochs(
                *(recipe, classifier, data, bench.device, attempt.stop),
                optimizer=optimizer,
                position=state.position,
                micro_batches=attempt.micro_batches,
                execution=execution,
                say=attempt.keeping.say,
            ):
                state.add(result, classifier, time.time_ns() // 1_000_000)
                if result.epoch == 0 and shift is not None:  # in the history, so that an heir logs it with its old time
                    state.history[0][1].update(shift.metrics())
                state.seconds = earlier_seconds + time.monotonic() - started
                kept.keep(partial(_tell_epoch, run, attempt, result, *state.history[-1]))
        except Stopped:
            state.seconds = earlier_seconds + time.monotonic() - started
            with suppress(Stopped):  # no room even now: the epochs before are durable
                kept.keep(lambda: None)
                kept.settle()
            kept.share()
            raise
        kept.settle()
    reach("trained")
    attempt.keeping.ensure()
    _store_files(cell, bench, run, attempt, images, source, data, classifier, state)
    reach("files-logged")
    return Outcome(metrics=state.position.selection.metrics(), seconds=earlier_seconds + time.monotonic() - started)


def _tell_epoch(run: RunLog, attempt: Attempt, result: EpochResult, moment: int, metrics: dict[str, float]) -> None:
    """Log an epoch that is durable."""
    attempt.durable(result.epoch)
    run.log_epoch(result.epoch, metrics, moment)
    attempt.on_epoch(result)


def _describe(run: RunLog, cell: Cell, images: ImageSet, source: Source, data: TrialData, micro_batches: int) -> None:
    """Tag the run with what it is trained on, and name its dataset."""
    tags = {
        "tracker.protocol": str(PROTOCOL),
        "dataset.fingerprint": images.fingerprint,
        "source.fingerprint": source.fingerprint,
        "tracker.train_images": str(len(data.train)),
        "tracker.val_images": str(0 if data.val is None else len(data.val)),
        "tracker.test_images": str(len(data.test)),
        **extension_versions(cell.recipe, cell.dataset),
    }
    if micro_batches > 1:
        tags["tracker.micro_batches"] = str(micro_batches)
    run.set_tags(tags)
    profile = {"classes": len(images.classes), "channels": images.channels, "image_size": images.image_size}
    # MLflow keeps one context for each digest, so each split has a digest of its own.
    for context, split, digest in (("train", data.train, ""), ("val", data.val, "-val"), ("test", data.test, "-test")):
        if split is not None:
            facts = {**profile, "images": len(split)}
            run.log_dataset(cell.recipe.dataset, images.fingerprint + digest, context, facts)


def _store_files(
    cell: Cell,
    bench: Workbench,
    run: RunLog,
    attempt: Attempt,
    images: ImageSet,
    source: Source,
    data: TrialData,
    classifier: Classifier,
    state: TrialState,
) -> None:
    """Make the cell's files and hand them to its run."""
    chosen = state.position.selection
    with bench.home.scratch("files") as place:
        weights = {
            "best": (state.best_weights(classifier), chosen.best_epoch, chosen.best_acc),
            "last": (classifier.state_dict(), chosen.last_epoch, chosen.last_acc),
        }
        for rule in KEPT[attempt.keep]:
            tensors, epoch, accuracy = weights[rule]
            facts = checkpoint_facts(
                *(cell.recipe, images, source),
                channels=classifier.channels,
                epoch=epoch,
                test_acc=accuracy,
                identity=cell.id,
            )
            path = place / f"{rule}.safetensors"
            size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
            attempt.keeping.guard.write(size, partial(save_checkpoint, path, tensors, facts))
        save_predictions(place / "predictions.npz", data, state.predictions)
        confusion_matrix(
            count_confusions(data.test.labels.cpu().numpy(), state.predictions["best"].numpy(), len(images.classes)),
            images.classes,
            place / "confusion_matrix.png",
            title=f"{cell.name}\nepoch {chosen.best_epoch}, best on the test split",
        )
        curves = {name: [metrics[name] for _, metrics in state.history] for name in state.history[-1][1]}
        learning_curve(curves, place / "learning_curve.png", title=cell.name, best_epoch=chosen.best_epoch)
        for name, where in ARTIFACTS.items():
            if (place / name).exists():
                run.log_file(place / name, where)


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
