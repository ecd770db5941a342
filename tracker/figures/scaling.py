"""How cost grows: time against what is varied, a panel each, on logarithmic axes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from tracker.figures.files import write_figure
from tracker.figures.style import (
    CHARACTERS_AN_INCH,
    FAINT,
    LOOKS,
    dress,
    laid_out,
    legend_below,
    say,
    wrapped,
)

SPARE = 1.25
"""Room around the points, a factor."""
LOOK = LOOKS["finetune"]


@dataclass(frozen=True)
class Growth:
    """A panel.

    Args:
        what: is varied.
        values: of it, in rising order.
        seconds: the cost at each value, of every round.
        told: about the whole, a sentence.
    """

    what: str
    values: Sequence[float]
    seconds: Sequence[Sequence[float]]
    told: str


def cost_scaling(panels: Sequence[Growth], path: Path, title: str) -> list[Path]:
    """Draw each cost with all its rounds, and as a thin line what it would be if it were linear from the first point.

    Args:
        path: as `write_figure` reads it.

    Returns:
        What was written.
    """
    figure, grid, columns = laid_out(len(panels), title)
    for panel, axes in zip(panels, grid, strict=True):
        characters = int(figure.get_figwidth() / columns * CHARACTERS_AN_INCH) - 9
        dress(axes, title=wrapped(panel.told, characters), x=wrapped(panel.what, characters), y="time (s)")
        if panel.values:
            _draw(axes, panel)
        else:
            say(axes, "nothing was measured")
    handles: list[Artist] = [
        Line2D([], [], color=LOOK.color, marker=LOOK.marker, markersize=5, label="median"),
        Line2D([], [], color=LOOK.color, marker="_", linestyle="none", markersize=9, label="each round"),
        Line2D([], [], color=FAINT, linewidth=1.2, linestyle=(0, (4, 2)), label="linear from the first"),
    ]
    legend_below(figure, handles)
    return write_figure(figure, path)


def _draw(axes: Axes, panel: Growth) -> None:
    medians = [statistics.median(seconds) for seconds in panel.seconds]
    linear = [medians[0] * value / panel.values[0] for value in panel.values]
    axes.plot(panel.values, linear, color=FAINT, linewidth=1.2, linestyle=(0, (4, 2)), zorder=1)
    for value, seconds in zip(panel.values, panel.seconds, strict=True):
        axes.plot(
            [value] * len(seconds), seconds, color=LOOK.color, marker="_", markersize=9, linestyle="none", zorder=2
        )
    axes.plot(panel.values, medians, color=LOOK.color, marker=LOOK.marker, markersize=5, zorder=3)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(min(panel.values) / SPARE, max(panel.values) * SPARE)
    axes.xaxis.set_major_locator(FixedLocator([float(value) for value in panel.values]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    least, most = min(map(min, (*panel.seconds, linear))), max(map(max, (*panel.seconds, linear)))
    axes.set_ylim(least / SPARE, most * SPARE)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
