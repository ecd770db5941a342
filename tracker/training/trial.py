"""One trial: a classifier built from a recipe, and the loop that trains it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tracker.study.errors import DataError, NotFinite, Stopped
from tracker.study.faults import reach
from tracker.study.recipe import Recipe
from tracker.study.shifts import AS_IS
from tracker.training.evaluate import evaluate
from tracker.training.execution import FUSED_OPTIMIZER, PLAIN, Execution
from tracker.training.input import build_input
from tracker.training.position import Position
from tracker.training.selection import Selection
from tracker.training.splits import TrialData
from tracker.training.step import letting_go, take_step
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
    fused = True if FUSED_OPTIMIZER in execution else None  # None lets torch choose, as it does by default
    match recipe.optimizer:
        case "adam":
            return torch.optim.Adam(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=fused)
        case "sgd":
            return torch.optim.SGD(
                parameters, lr=recipe.lr, momentum=0.9, weight_decay=recipe.weight_decay, fused=fused
            )


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

    Raises:
        NotFinite: the training loss.
        Stopped: `stop` said so.
    """
    optimizer = build_optimizer(recipe, classifier, execution) if optimizer is None else optimizer
    pipeline = build_input(classifier, recipe.crop_padding, data.train.images, execution)
    position = Position() if position is None else position
    count = len(data.train)
    for epoch in range(position.epoch, recipe.epochs):
        started = time.perf_counter() - position.seconds
        lr = learning_rate(recipe, epoch)
        for group in optimizer.param_groups:
            group["lr"] = lr
        plan = draw_plan(count, seed=recipe.seed, epoch=epoch, crop_padding=recipe.crop_padding, flip=recipe.flip).to(
            device
        )
        loss_sum = torch.tensor(position.loss_sum, dtype=torch.float64, device=device)
        correct = torch.tensor(position.correct, dtype=torch.int64, device=device)
        classifier.train_mode(recipe.tune)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), letting_go(optimizer):
            position.seed(recipe.seed, device)
            for first in range(position.step * recipe.batch_size, count, recipe.batch_size):
                if stop():
                    position.halt(
                        first // recipe.batch_size,
                        loss_sum=finite(loss_sum.item(), recipe, epoch),
                        correct=int(correct.item()),
                        seconds=time.perf_counter() - started,
                        device=device,
                    )
                    raise Stopped
                take_step(
                    classifier,
                    optimizer,
                    data.train,
                    plan.batch(first, recipe.batch_size),
                    pipeline,
                    micro_batches,
                    loss_sum,
                    correct,
                )
                reach("stepped")
        train_loss = finite(loss_sum.item() / count, recipe, epoch)  # the epoch's only wait for the device
        train_seconds = time.perf_counter() - started
        metrics = {"train_loss": train_loss, "train_acc": correct.item() / count, "lr": lr}
        val_acc = None
        if data.val is not None:
            val = evaluate(classifier, data.val, pipeline=pipeline)
            metrics |= {"val_loss": val.loss, "val_acc": val.accuracy}
            val_acc = val.accuracy
        test = evaluate(classifier, data.test, pipeline=pipeline)
        metrics |= {"test_loss": test.loss, "test_acc": test.accuracy}
        metrics |= {"epoch_seconds": time.perf_counter() - started, "images_per_second": count / train_seconds}
        position.advance(position.selection.after(epoch, test_acc=test.accuracy, val_acc=val_acc))
        reach("epoch-trained")
        yield EpochResult(epoch=epoch, metrics=metrics, predictions=test.predictions, selection=position.selection)


def finite(loss: float, recipe: Recipe, epoch: int) -> float:
    """Return a training loss as it is.

    Raises:
        NotFinite: it is infinite or no number.
    """
    if not math.isfinite(loss):
        raise NotFinite(f"train_loss is {loss} in epoch {epoch}", f"lower the learning rate (recipe.lr is {recipe.lr})")
    return loss
