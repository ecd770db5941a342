"""A whole study over its epochs: the reference study's Figure 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tracker.figures.style import (
    FAINT,
    INK,
    SMALL_SIZE,
    TEXT_SIZE,
    TITLE_SIZE,
    Look,
    dress,
    epoch_axis,
    looks_of,
    write_png,
)

PANEL_WIDTH, PANEL_HEIGHT = 3.4, 2.5
MARKERS = 6
"""Markers a line; their places differ by setting, so that lines on top of each other show both."""

Curves = Mapping[tuple[str, str], Mapping[str, Sequence[Sequence[float]]]]
"""By (row, column) and setting: the histories of its replicates, a fraction an epoch."""


def history_grid(
    curves: Curves, path: Path, rows: Sequence[str], columns: Sequence[str], settings: Sequence[str], title: str
) -> None:
    """Draw a grid of panels, accuracy by epoch, one line a setting: the mean over its replicates.

    Where a setting has several replicates a band reaches from the lowest to the highest of them.
    Panels of one column share their axes. A panel without any history says so.

    Args:
        curves: the histories; a panel or a setting may be absent.
        path: where the PNG goes.
        rows: labels of the rows, top to bottom; the reference study has its models there.
        columns: labels of the columns, left to right; there, its datasets.
        settings: the lines, in the order of the legend.
        title: says which study, which metric.

    Writes: `path`.
    """
    figure = Figure(
        figsize=(max(PANEL_WIDTH * len(columns) + 0.6, 6.5), PANEL_HEIGHT * len(rows) + 1.3), layout="constrained"
    )
    figure.suptitle(title, fontsize=TITLE_SIZE, color=INK, x=0.01, ha="left", parse_math=False)
    looks = looks_of(settings)
    grid = figure.subplots(len(rows), len(columns), squeeze=False, sharex="col", sharey="col")
    replicates = 1
    for (row, column), axes in np.ndenumerate(grid):
        panel = curves.get((rows[row], columns[column]), {})
        dress(
            axes,
            title=columns[column] if row == 0 else "",
            x="epoch" if row == len(rows) - 1 else "",
            y=f"{rows[row]}\naccuracy (%)" if column == 0 else "",
        )
        epoch_axis(axes)
        for place, setting in enumerate(settings):
            histories = [history for history in panel.get(setting, ()) if len(history)]
            replicates = max(replicates, len(histories))
            if histories:
                _band(axes, histories, looks[setting], offset=place / len(settings))
        if not axes.lines:
            axes.text(
                0.5, 0.5, "no finished run", transform=axes.transAxes, ha="center", color=FAINT, fontsize=TEXT_SIZE
            )
    handles = [_handle(setting, look) for setting, look in looks.items()]
    band = f"mean of up to {replicates} seeds; band: lowest to highest" if replicates > 1 else "one seed"
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(settings), frameon=False, fontsize=TEXT_SIZE, title=band,
        title_fontsize=SMALL_SIZE, handlelength=3.5,
    )  # fmt: skip
    write_png(figure, path)


def _band(axes: Axes, histories: Sequence[Sequence[float]], look: Look, offset: float) -> None:
    epochs = max(map(len, histories))
    values = np.full((len(histories), epochs), np.nan)  # (replicates, epochs); a shorter history ends early
    for line, history in zip(values, histories, strict=True):
        line[: len(history)] = [100 * value for value in history]
    step = max(1, epochs // MARKERS)
    axes.plot(
        range(epochs), np.nanmean(values, axis=0), color=look.color, linestyle=look.dashes, linewidth=1.4,
        marker=look.marker, markersize=4, markevery=(int(offset * step), step),
    )  # fmt: skip
    if len(histories) > 1:
        low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
        axes.fill_between(range(epochs), low, high, color=look.color, alpha=0.15, linewidth=0)


def _handle(setting: str, look: Look) -> Line2D:
    return Line2D([], [], color=look.color, linestyle=look.dashes, marker=look.marker, markersize=5, label=setting)
