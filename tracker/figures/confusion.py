"""Which classes are taken for which others."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tracker.figures.files import write_png
from tracker.figures.style import INK, SMALL_SIZE, TEXT_SIZE, TITLE_SIZE

PRINTED_CLASSES = 20
"""Up to this many classes every count is printed."""

NAMED_CLASSES = 50
"""Up to this many classes every one is named at the edge; beyond, they are numbered."""

CONFUSIONS = 5
NAME_LENGTH, UPRIGHT_LENGTH = 24, 4
CHARACTERS_AN_INCH = 14
GAMMA = 0.5
"""Shades grow with the square root of the share, so that a confusion of 1 % can be seen."""


def confusion_matrix(counts: np.ndarray, classes: Sequence[str], path: Path, title: str) -> None:
    """Draw a confusion matrix, shaded by share of the true class, and name the commonest confusions.

    Args:
        counts: integers, (K, K): row true class, column predicted class.
        classes: K names.
        path: where the PNG goes.
        title: says which run and which epoch this is.

    Raises:
        ValueError: `counts` is not (K, K) for these classes.

    Writes: `path`.
    """
    number = len(classes)
    if counts.shape != (number, number):
        raise ValueError(f"counts are {counts.shape}, for {number} classes they must be ({number}, {number})")
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)  # a class without images has shares of 0
    side = float(np.clip(3.2 + 0.42 * number, 5.0, 9.5))
    figure = Figure(figsize=(side + 1.6, side + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=TITLE_SIZE, color=INK, x=0.01, ha="left", parse_math=False)
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", norm=PowerNorm(GAMMA, vmin=0, vmax=1), interpolation="nearest")
    bar = figure.colorbar(picture, ax=axes, shrink=0.8, ticks=[0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1])
    bar.set_label("share of the true class (%)", fontsize=SMALL_SIZE, color=INK)
    bar.ax.set_yticklabels(["0", "1", "5", "10", "25", "50", "75", "100"], fontsize=SMALL_SIZE)
    axes.set_xlabel("predicted class", fontsize=TEXT_SIZE, color=INK)
    axes.set_ylabel("true class", fontsize=TEXT_SIZE, color=INK)
    caption = _commonest(shares, classes, width=int(side * CHARACTERS_AN_INCH))
    figure.supxlabel(caption, fontsize=SMALL_SIZE, color=INK, x=0.01, ha="left", parse_math=False)
    axes.tick_params(labelsize=SMALL_SIZE, colors=INK, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if number <= NAMED_CLASSES:
        names = [_short(name) for name in classes]
        axes.set_yticks(range(number), labels=names, parse_math=False)
        axes.set_xticks(range(number), labels=names, parse_math=False)
        if number > PRINTED_CLASSES:
            axes.tick_params(axis="x", rotation=90)
        elif max(map(len, names)) > UPRIGHT_LENGTH:
            for label in axes.get_xticklabels():
                label.set(rotation=45, horizontalalignment="right", rotation_mode="anchor")
    else:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
    if number <= PRINTED_CLASSES:
        _print_counts(axes, counts, shares)
    write_png(figure, path)


def _print_counts(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    size = SMALL_SIZE if counts.max(initial=0) < 10_000 else SMALL_SIZE - 1.5
    for (true, predicted), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[true, predicted] ** GAMMA > 0.55 else INK
            axes.text(predicted, true, str(int(count)), ha="center", va="center", fontsize=size, color=color)


def _commonest(shares: np.ndarray, classes: Sequence[str], width: int) -> str:
    """Name the largest shares off the diagonal, true class first, in lines of `width` characters."""
    confusions = shares * (1 - np.eye(len(classes)))
    order = np.argsort(-confusions, axis=None, kind="stable")[:CONFUSIONS]
    pairs = [np.unravel_index(flat, shares.shape) for flat in order]
    told = [
        f"{_short(classes[true])} → {_short(classes[predicted])} ({100 * shares[true, predicted]:.0f} %)"
        for true, predicted in pairs
        if confusions[true, predicted] > 0
    ]
    return textwrap.fill("commonest confusions: " + ("; ".join(told) or "none"), width)


def _short(name: str) -> str:
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"
