"""One trial: a classifier built from a recipe, and the loop that trains it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from tracker.study.errors import DataError, NotFinite, Stopped
from tracker.study.faults import reach
from tracker.study.recipe import Recipe
from tracker.study.shifts import AS_IS
from tracker.training.execution import CUDA_GRAPH, FUSED_OPTIMIZER, PLAIN, Execution
from tracker.training.graphs import Recorder, recorder_of
from tracker.training.input import build_input
from tracker.training.position import Position
from tracker.training.recorded import REHEARSALS, RecordedStepper
from tracker.training.selection import Selection
from tracker.training.splits import TrialData
from tracker.training.step import letting_go
from tracker.training.stepper import PlainStepper, Stepper
from tracker.training.tally import Sums, Tally
from tracker.vision.augmentation import draw_plan
from tracker.vision.images import ImageSet, Statistics
from tracker.vision.models import Classifier, build_network, keep_range_of_weights, load_backbone
from tracker.vision.normalizations import build_normalization
from tracker.vision.sources import Source
from tracker.vision.statistics import published_statistics


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave.

    Args:
        epoch: counted from 0.
        metrics: the epoch's, by the names of `tracker.study.metrics`; accuracies are fractions.
        predictions: int64, (N,): the class of each test image.
        selection: the epochs chosen so far, this one considered.
    """

    epoch: int
    metrics: dict[str, float]
    predictions: Tensor
    selection: Selection

    @property
    def is_best(self) -> bool:
        """Whether this epoch is the best so far, on the test split."""
        return self.selection.best_epoch == self.epoch

    @property
    def is_selected(self) -> bool:
        """Whether this epoch is the best so far, on the validation split."""
        return self.selection.selected_epoch == self.epoch


def target_statistics(recipe: Recipe, images: ImageSet) -> Statistics:
    """Return the dataset's statistics, exact or published, as the recipe says.

    Raises:
        DataError: there are no published ones for this dataset, or not with this shift.
    """
    if recipe.statistics == "exact":
        return images.statistics
    if recipe.shift != AS_IS:
        raise DataError(
            f"no statistics are published of dataset {images.name} under shift {recipe.shift}",
            "use its exact ones: `statistics: exact` in the recipe",
        )
    return published_statistics(images.name)


def build_classifier(recipe: Recipe, images: ImageSet, source: Source) -> Classifier:
    """Build the classifier a trial starts from, on the CPU.

    Raises:
        SourceError: the source's network, channels or statistics do not fit.
        DataError: published statistics are asked for where there are none.
    """
    channels = source.channels or images.channels
    network, head = build_network(recipe.model, channels=channels, classes=len(images.classes), seed=recipe.seed)
    if source.state is not None:
        load_backbone(network, head, source.state, what=f"source {source.name!r}")
        if source.name == "torchvision":
            keep_range_of_weights(network)
    normalization = build_normalization(
        recipe.normalization,
        target=target_statistics(recipe, images),
        source=source.statistics,
        channels=channels,
    )
    classifier = Classifier(normalization, network, head, channels)
    classifier.set_trainable(recipe.tune)
    return classifier


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """Return the learning rate of an epoch; cosine reaches 0 after the last one, as torch's CosineAnnealingLR."""
    if recipe.schedule == "constant":
        return recipe.lr
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * epoch / recipe.epochs))


def build_optimizer(recipe: Recipe, classifier: Classifier, execution: Execution = PLAIN) -> torch.optim.Optimizer:
    """Build torch's optimizer over the parameters that learn, of a classifier that is on its device."""
    parameters = list(classifier.trainable())
    recorded = CUDA_GRAPH in execution
    # None lets torch choose, as it does by default. SGD reads a learning rate on the host unless it is fused.
    fused = True if recorded or FUSED_OPTIMIZER in execution else None
    lr = _rate_on(parameters[0].device, recipe.lr) if recorded else recipe.lr
    capturable = recorded and parameters[0].device.type == "cuda"
    decay = recipe.weight_decay
    match recipe.optimizer:
        case "adam":
            return torch.optim.Adam(parameters, lr=lr, weight_decay=decay, fused=fused, capturable=capturable)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=lr, weight_decay=decay, fused=fused, capturable=capturable)
        case "sgd":
            return torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=decay, fused=fused)


def _rate_on(device: torch.device, rate: float) -> Tensor:
    """Return a learning rate that a recorded step reads; CUDA's kernels take fp32, those of a CPU any number."""
    return torch.tensor(rate, dtype=torch.float32 if device.type == "cuda" else torch.float64, device=device)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate, in place where it is a tensor: a recorded step reads that very one."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def run_epochs(
    recipe: Recipe,
    classifier: Classifier,
    data: TrialData,
    device: torch.device,
    stop: Callable[[], bool] = lambda: False,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    position: Position | None = None,
    micro_batches: int = 1,
    execution: Execution = PLAIN,
    recorder: Recorder | None = None,
    rehearsals: int = REHEARSALS,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[EpochResult]:
    """Train for the recipe's epochs, yielding each one's result.

    Everything random in epoch e derives from (seed, e), so the same recipe gives the same bits on
    the CPU, and cells that differ only in normalization see the same images in the same order.
    Stopped and called again with the same classifier, optimizer and position, it goes on in the
    middle of the epoch; on the CPU with the bits it would have had undisturbed.

    Args:
        classifier: on `device`; trained in place.
        data: on `device`.
        stop: asked before each step.
        optimizer: over the classifier's trainable parameters; by default the recipe's, new.
        position: where to start, moved along; by default the start.
        micro_batches: parts each batch goes through the network in, to need less memory. Their
            gradients are added up, so with a frozen backbone results are the same up to rounding.
            Otherwise they are not: BatchNorm takes its statistics from the parts, and dropout
            draws for them.
        execution: that the classifier was prepared for, and the optimizer built.
        recorder: of steps and evaluation; by default what the execution asks for on this device.
        rehearsals: as of `RecordedStepper`.
        say: told why steps are not recorded, where that was tried and failed.

    Raises:
        NotFinite: a loss, of training or evaluation.
        Stopped: `stop` said so.
    """
    optimizer = build_optimizer(recipe, classifier, execution) if optimizer is None else optimizer
    pipeline = build_input(classifier, recipe.crop_padding, data.train.images, execution)
    position = Position() if position is None else position
    recorder = recorder_of(execution, device) if recorder is None else recorder
    tally = Tally(device)
    plain = PlainStepper(classifier, optimizer, pipeline, micro_batches, tally)
    stepper: Stepper = plain if recorder is None else RecordedStepper(plain, recorder, data, say, rehearsals)
    count = len(data.train)
    with closing(stepper):
        for epoch in range(position.epoch, recipe.epochs):
            started = time.perf_counter() - position.seconds
            lr = learning_rate(recipe, epoch)
            set_learning_rate(optimizer, lr)
            plan = draw_plan(count, seed=recipe.seed, epoch=epoch, crop_padding=recipe.crop_padding, flip=recipe.flip)
            tally.start(Sums(position.loss_sum, position.correct, sound=position.step))
            classifier.train_mode(recipe.tune)
            with (
                torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
                letting_go(optimizer),
                closing(data.train.drawn(plan, recipe.batch_size, position.step)) as batches,
            ):
                position.seed(recipe.seed, device)
                for step, (split, batch) in enumerate(batches, start=position.step):
                    if stop():
                        sums = checked(tally.read(), recipe, epoch)
                        seconds = time.perf_counter() - started
                        position.halt(step, loss_sum=sums.loss, correct=sums.correct, seconds=seconds, device=device)
                        raise Stopped
                    stepper.train(split, batch)
                    reach("stepped")
            sums = checked(tally.read(), recipe, epoch)  # training's only wait for the device
            train_seconds = time.perf_counter() - started
            metrics = {"train_loss": sums.loss / count, "train_acc": sums.correct / count, "lr": lr}
            val = None
            if data.val is not None:
                val = stepper.evaluate(data.val)
                metrics |= {"val_loss": val.loss, "val_acc": val.accuracy}
            test = stepper.evaluate(data.test)
            metrics |= {"test_loss": test.loss, "test_acc": test.accuracy}
            check_evaluations(metrics, recipe, epoch)
            metrics |= {"epoch_seconds": time.perf_counter() - started, "images_per_second": count / train_seconds}
            val_acc = None if val is None else val.accuracy
            position.advance(position.selection.after(epoch, test_acc=test.accuracy, val_acc=val_acc))
            reach("epoch-trained")
            yield EpochResult(epoch, metrics, predictions=test.predictions, selection=position.selection)


def checked(sums: Sums, recipe: Recipe, epoch: int) -> Sums:
    """Return what an epoch's steps added up to, as it is.

    Raises:
        NotFinite: the loss is infinite or no number.
    """
    if not math.isfinite(sums.loss):
        raise NotFinite(f"train_loss is {sums.loss} from step {sums.sound} of epoch {epoch} on", _slower(recipe))
    return sums


def check_evaluations(metrics: dict[str, float], recipe: Recipe, epoch: int) -> None:
    """See that a network did not diverge in evaluation only: BatchNorm evaluates on what it recorded.

    Raises:
        NotFinite: a loss is infinite or no number.
    """
    for name in ("val_loss", "test_loss"):
        if not math.isfinite(value := metrics.get(name, 0.0)):
            raise NotFinite(f"{name} is {value} after epoch {epoch}", _slower(recipe))


def _slower(recipe: Recipe) -> str:
    return f"lower the learning rate (recipe.lr is {recipe.lr})"
