"""The metrics a run carries, with unit and meaning: one table for logging, comparing and docs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One logged number.

    Args:
        name: the key in MLflow.
        unit: "fraction" for accuracies (percent only where printed), "nats", "s", "images/s", "epoch",
            "source SD" (standard deviations of what the source was fed) or "1" for a number without unit.
        scope: logged once an epoch (step = epoch, counted from 0) or once a run.
        meaning: one sentence; for an accuracy of a run it names the rule that picked the epoch.
    """

    name: str
    unit: str
    scope: Literal["epoch", "run"]
    meaning: str


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("train_loss", "nats", "epoch", "Mean cross-entropy over the training images, while training."),
        Metric("train_acc", "fraction", "epoch", "Accuracy over the training images, while training."),
        Metric("test_loss", "nats", "epoch", "Mean cross-entropy over the test split."),
        Metric("test_acc", "fraction", "epoch", "Accuracy over the test split."),
        Metric("val_loss", "nats", "epoch", "Mean cross-entropy over the validation split, where there is one."),
        Metric("val_acc", "fraction", "epoch", "Accuracy over the validation split, where there is one."),
        Metric("lr", "1", "epoch", "Learning rate of the epoch."),
        Metric("epoch_seconds", "s", "epoch", "Wall time of the epoch: training and evaluation."),
        Metric("images_per_second", "images/s", "epoch", "Training images a second, evaluation not counted."),
        Metric("best_acc", "fraction", "run", "Test accuracy of the best epoch, chosen on the test split itself: "
               "optimistic, and what the reference study reports."),
        Metric("best_epoch", "epoch", "run", "The epoch of best_acc, counted from 0; the first of equals."),
        Metric("last_acc", "fraction", "run", "Test accuracy after the last epoch: nothing is selected."),
        Metric("selected_acc", "fraction", "run", "Test accuracy at the epoch of the best validation accuracy; "
               "needs val_fraction > 0."),
        Metric("selected_epoch", "epoch", "run", "The epoch of selected_acc, counted from 0; the first of equals."),
        Metric("shift_mean", "source SD", "run", "Distance of the input's mean from that of what the source was fed, "
               "mean over channels; like every shift of the untrained network, and none for random weights."),
        Metric("shift_std", "source SD", "run", "Distance of the input's standard deviation from the source's, "
               "mean over channels."),
        Metric("shift_wasserstein", "source SD", "run", "Distance of the input's pixels from the source's as whole "
               "distributions (1-Wasserstein), mean over channels; the tag tracker.shift_reference says what is known "
               "of the source's."),
        Metric("shift_activations", "source SD", "run", "Distance of the first convolution's output from what its "
               "BatchNorm recorded in pre-training, mean over channels; only where a BatchNorm follows it."),
    )
}  # fmt: skip

RANKING_METRICS = ("best_acc", "last_acc", "selected_acc")
"""What a leaderboard can be made of."""

SHIFT_METRICS = ("shift_mean", "shift_std", "shift_wasserstein", "shift_activations")
"""How far the network's input is from what its source was trained on; logged with a cell's first epoch."""

SELECTION = {
    "best_acc": "best epoch, chosen on the test split (optimistic)",
    "last_acc": "last epoch, nothing selected",
    "selected_acc": "epoch chosen on the validation split",
}
"""The rule that picked the epoch, as shown wherever an accuracy is printed."""
