"""One run over its epochs: accuracy beside loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tracker.figures.files import write_png
from tracker.figures.style import FAINT, INK, SMALL_SIZE, TITLE_SIZE, Look, dress, epoch_axis

SPLITS = {
    "train": Look("#56B4E9", (0, (5, 1)), "s"),
    "val": Look("#E69F00", (0, (1, 1)), "^"),
    "test": Look("#0072B2", "solid", "o"),
}
MARKED_POINTS = 30
"""Up to this many epochs every one is marked; beyond, markers run into each other."""


def learning_curve(
    history: Mapping[str, Sequence[float]], path: Path, title: str, best_epoch: int | None = None
) -> None:
    """Draw accuracy and loss by epoch, each split that the history has.

    Args:
        history: by metric (train_acc, test_loss, ...), one value an epoch from epoch 0; accuracies
            are fractions. Other metrics are ignored.
        path: where the PNG goes.
        title: says which run this is.
        best_epoch: marked, with its test accuracy: the epoch chosen on the test split.

    Writes: `path`.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title, fontsize=TITLE_SIZE, color=INK, x=0.01, ha="left", parse_math=False)
    accuracy, loss = figure.subplots(1, 2)
    dress(accuracy, x="epoch", y="accuracy (%)")
    dress(loss, x="epoch", y="loss (cross-entropy, nats)")
    for split, look in SPLITS.items():
        _line(accuracy, [100 * value for value in history.get(f"{split}_acc", ())], split, look)
        _line(loss, history.get(f"{split}_loss", ()), split, look)
    if best_epoch is not None:
        tested = history.get("test_acc", ())
        value = f", {100 * tested[best_epoch]:.2f} %" if best_epoch < len(tested) else ""
        label = f"best epoch on test ({best_epoch}{value})"
        for axes in (accuracy, loss):
            axes.axvline(best_epoch, color=FAINT, linewidth=1.2, zorder=1, label=label if axes is accuracy else None)
    for axes in (accuracy, loss):
        epoch_axis(axes)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=SMALL_SIZE, frameon=False)
    write_png(figure, path)


def _line(axes: Axes, values: Sequence[float], split: str, look: Look) -> None:
    if len(values):
        marker = look.marker if len(values) <= MARKED_POINTS else ""
        axes.plot(
            range(len(values)),
            values,
            color=look.color,
            linestyle=look.dashes,
            marker=marker,
            markersize=4.5,
            label=split,
        )
