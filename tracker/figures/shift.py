"""How far a normalization leaves the data from what the source was trained on, against what it gains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from tracker.figures.files import write_figure
from tracker.figures.style import (
    CHARACTERS_AN_INCH,
    INK,
    PANEL_HEIGHT,
    SMALL_CHARACTERS_AN_INCH,
    SMALL_SIZE,
    Look,
    bare,
    dress,
    laid_out,
    legend_below,
    legend_handle,
    looks_of,
    say,
    say_only,
    wrapped,
)


@dataclass(frozen=True)
class ShiftPoint:
    """One setting in one row.

    Args:
        shift: the measure of the data under this setting, in its own unit.
        difference: accuracy minus the baseline's, a fraction.
        low, high: of its 95 % interval; None where there is none.
    """

    setting: str
    shift: float
    difference: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ShiftPanel:
    """One measure of the shift.

    Args:
        measure: its name and unit, under the axis.
        correlation: a sentence on how shift and difference go together, or on why that is not told.
    """

    measure: str
    points: Sequence[ShiftPoint]
    correlation: str


def shift_against_gain(panels: Sequence[ShiftPanel], path: Path, title: str, baseline: str) -> list[Path]:
    """Draw the accuracy difference over the shift, a panel a measure.

    Args:
        path: as `write_figure` reads it.
        baseline: the setting that differences are taken to.

    Returns:
        What was written.
    """
    if not panels:
        return write_figure(say_only(title, "no shift was measured"), path)
    figure, grid, columns = laid_out(len(panels), title)
    looks = looks_of(list(dict.fromkeys(point.setting for panel in panels for point in panel.points)))
    inches = figure.get_figwidth() / columns - 0.7
    y = wrapped(f"accuracy minus {baseline}, points", int(0.9 * PANEL_HEIGHT * CHARACTERS_AN_INCH))
    for place, (panel, axes) in enumerate(zip(panels, grid, strict=True)):
        dress(axes, x=wrapped(panel.measure, int(inches * CHARACTERS_AN_INCH)), y="" if place % columns else y)
        told = wrapped(panel.correlation, int(inches * SMALL_CHARACTERS_AN_INCH))
        axes.set_title(told, fontsize=SMALL_SIZE, color=INK, loc="left")
        if panel.points:
            _draw_points(axes, panel.points, looks)
        else:
            bare(axes)
            say(axes, "nothing to draw")
    if looks:
        handles = [legend_handle(name, look, line=False) for name, look in looks.items()]
        with_interval = any(point.low is not None for panel in panels for point in panel.points)
        legend_below(figure, handles, title="bars: 95 % intervals" if with_interval else "", length=1.2)
    return write_figure(figure, path)


def _draw_points(axes: Axes, points: Sequence[ShiftPoint], looks: dict[str, Look]) -> None:
    axes.axhline(0, color=INK, linewidth=0.9, zorder=1)
    for point in points:
        look = looks[point.setting]
        if point.low is not None and point.high is not None:
            ends = [100 * point.low, 100 * point.high]
            axes.plot([point.shift] * 2, ends, color=look.color, linewidth=1.1, alpha=0.5, zorder=2)
        axes.plot(
            [point.shift], [100 * point.difference], color=look.color, marker=look.marker, markersize=5.5,
            linestyle="none", zorder=3,
        )  # fmt: skip
    axes.margins(y=0.08)
    start, end = min(0.0, *(point.shift for point in points)), max(0.0, *(point.shift for point in points))
    margin = 0.05 * (end - start or 1.0)
    axes.set_xlim(start - margin, end + margin)  # no shift is in sight
