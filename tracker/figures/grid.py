"""A whole study over its epochs: the reference study's Figure 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tracker.figures.files import write_figure
from tracker.figures.style import (
    CHARACTERS_AN_INCH,
    PAGE_WIDTH,
    Look,
    dress,
    epoch_axis,
    head,
    legend_below,
    legend_handle,
    looks_of,
    say,
    wrapped,
)

PANEL_WIDTH, PANEL_HEIGHT, LEAST_PANEL_WIDTH = 3.4, 2.5, 2.2
"""Panels get narrower to fit the page, down to the least; more of them make a wider picture."""

MARKERS = 6
"""Markers a line; their places differ by setting, so that lines on top of each other show both."""

Curves = Mapping[tuple[str, str], Mapping[str, Sequence[Sequence[float]]]]
"""By (row, column) and setting: the histories of its replicates, a fraction an epoch."""


def history_grid(
    curves: Curves, path: Path, rows: Sequence[str], columns: Sequence[str], settings: Sequence[str], title: str
) -> list[Path]:
    """Draw a grid of panels, accuracy by epoch, one line a setting: the mean over its replicates.

    Where a setting has several replicates a band reaches from the lowest to the highest of them.
    Panels of one column share their axes. A panel without any history says so.

    Args:
        curves: the histories; a panel or a setting may be absent.
        path: as `write_figure` reads it.
        rows: labels of the rows, top to bottom; the reference study has its models there.
        columns: labels of the columns, left to right; there, its datasets.
        settings: the lines, in the order of the legend.
        title: says which study, which metric.

    Returns:
        What was written.
    """
    panel_width = min(PANEL_WIDTH, max((PAGE_WIDTH - 0.6) / max(len(columns), 1), LEAST_PANEL_WIDTH))
    figure = Figure(
        figsize=(max(panel_width * len(columns) + 0.6, 6.5), PANEL_HEIGHT * len(rows) + 1.3), layout="constrained"
    )
    head(figure, title)
    looks = looks_of(settings)
    grid = figure.subplots(len(rows), len(columns), squeeze=False, sharex="col", sharey="col")
    replicates = 1
    for (row, column), axes in np.ndenumerate(grid):
        panel = curves.get((rows[row], columns[column]), {})
        dress(
            axes,
            title=wrapped(columns[column], int(panel_width * CHARACTERS_AN_INCH)) if row == 0 else "",
            x="epoch" if row == len(rows) - 1 else "",
            y=f"{wrapped(rows[row], int(PANEL_HEIGHT * CHARACTERS_AN_INCH))}\naccuracy (%)" if column == 0 else "",
        )
        epoch_axis(axes)
        for place, setting in enumerate(settings):
            histories = [history for history in panel.get(setting, ()) if len(history)]
            replicates = max(replicates, len(histories))
            if histories:
                _band(axes, histories, looks[setting], offset=place / len(settings))
        if not axes.lines:
            say(axes, "no finished run")
    band = f"mean of up to {replicates} seeds; band: lowest to highest" if replicates > 1 else "one seed"
    legend_below(figure, [legend_handle(*named) for named in looks.items()], title=band, length=3.5)
    return write_figure(figure, path)


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
