"""What an accuracy costs: time of training against accuracy, dataset by dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from tracker.figures.files import write_figure
from tracker.figures.naming import Spot, write_names
from tracker.figures.style import (
    CHARACTERS_AN_INCH,
    FAINT,
    Look,
    dress,
    laid_out,
    legend_below,
    legend_handle,
    looks_of,
    say_only,
    wrapped,
)

LOG_SPAN = 10.0
"""Costs that differ by more than this factor are drawn on a logarithmic axis."""


@dataclass(frozen=True)
class Point:
    """A setting of a model on a dataset: mean cost and accuracy over its seeds.

    Args:
        seconds: of training one cell.
        accuracy: a fraction.
        sd: of the accuracy over seeds, a fraction; None for one seed.
    """

    dataset: str
    model: str
    setting: str
    seconds: float
    accuracy: float
    sd: float | None


def cost_against_accuracy(
    points: Sequence[Point], path: Path, title: str, cost: str = "training time of one run (s)"
) -> list[Path]:
    """Draw cost against accuracy, a panel a dataset; a thin line joins what nothing beats in both.

    Args:
        points: one a model, dataset and setting.
        path: as `write_figure` reads it.
        cost: what `seconds` measures.

    Returns:
        What was written.
    """
    if not points:
        return write_figure(say_only(title, "no finished run with a training time yet"), path)
    datasets = list(dict.fromkeys(point.dataset for point in points))
    figure, grid, columns = laid_out(len(datasets), title)
    looks = looks_of(list(dict.fromkeys(point.setting for point in points)))
    names: list[tuple[Axes, str, list[Spot]]] = []
    fronts: dict[Axes, list[tuple[float, float]]] = {}
    for dataset, axes in zip(datasets, grid, strict=True):
        characters = int(figure.get_figwidth() / columns * CHARACTERS_AN_INCH) - 9
        dress(axes, title=wrapped(dataset, characters), x=wrapped(cost, characters), y="accuracy (%)")
        here = [point for point in points if point.dataset == dataset]
        fronts[axes] = [(point.seconds, 100 * point.accuracy) for point in _front(here)]
        axes.plot(*zip(*fronts[axes], strict=True), color=FAINT, linewidth=1.2, drawstyle="steps-post", zorder=1)
        _draw_points(axes, here, looks)
        for model in dict.fromkeys(point.model for point in here):
            spots = [(p.seconds, 100 * p.accuracy, 100 * (p.sd or 0.0)) for p in here if p.model == model]
            names.append((axes, model, spots))
    handles: list[Artist] = [legend_handle(name, look, line=False) for name, look in looks.items()]
    handles.append(Line2D([], [], color=FAINT, linewidth=1.2, label="most accurate for its cost"))
    seeds = "error bars: one SD over seeds, where there are several" if any(point.sd for point in points) else ""
    legend_below(figure, handles, title=seeds, length=1.2)
    write_names(figure, names, fronts)
    return write_figure(figure, path)


def _draw_points(axes: Axes, points: Sequence[Point], looks: dict[str, Look]) -> None:
    seconds = [point.seconds for point in points]
    if min(seconds) > 0 and max(seconds) > LOG_SPAN * min(seconds):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(seconds) < 50 * min(seconds) else (1,)))
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    for point in points:
        look = looks[point.setting]
        axes.errorbar(
            point.seconds, 100 * point.accuracy, yerr=100 * point.sd if point.sd else None, color=look.color,
            marker=look.marker, markersize=5.5, elinewidth=1.0, capsize=2.5, linestyle="none", zorder=3,
        )  # fmt: skip
    axes.margins(0.14, 0.18)


def _front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in cost and accuracy both, cheapest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.seconds, -point.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return front
