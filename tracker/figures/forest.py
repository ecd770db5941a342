"""Differences to the baseline with their intervals, one under the other."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import blended_transform_factory

from tracker.figures.files import write_figure
from tracker.figures.style import (
    FAINT,
    INK,
    PAGE_WIDTH,
    SMALL_SIZE,
    Look,
    foot,
    head,
    lines_in,
    looks_of,
    points,
    say_only,
    wrapped,
)

LINE_HEIGHT, NEXT_LINE = 0.25, 0.6
"""Inches a line has, and the share of it that each further line of one text adds."""

SETTING_WIDTH, VERDICT_WIDTH, HEADER_WIDTH, BASELINE_WIDTH = 24, 26, 110, 40
"""Characters of a line in the columns; longer texts take more lines."""

BAND, STRIP = "#ece7d8", "#f2f2f2"
WIDEST = 3.0
"""Intervals may be cut at so many times the reach of the median one, lest they squeeze the others..."""

CUT_FROM = 2.0
"""... if the widest reaches beyond so many times that again."""


@dataclass(frozen=True)
class Line:
    """One comparison: a setting minus the baseline, fractions.

    Args:
        label: of the row; neighbours with the same label stand in one block.
        low, high: of the 95 % interval; None where there is none.
        verdict: better, worse, equivalent or undecided.
        verdict_text: the verdict in words, at the right edge.
    """

    label: str
    setting: str
    mean: float
    low: float | None
    high: float | None
    verdict: str
    verdict_text: str


def forest(
    lines: Sequence[Line], path: Path, title: str, rope: float, baseline: str, pooled: Sequence[Line] = ()
) -> list[Path]:
    """Draw every comparison's difference, interval and verdict, and below them the pooled effects.

    An interval that would make all others too small to see is cut with an arrow; its numbers are printed.

    Args:
        path: as `write_figure` reads it.
        rope: differences below it are of no use, a fraction: a band around 0.
        pooled: effects over several rows, drawn as diamonds.

    Returns:
        What was written.
    """
    if not lines and not pooled:
        return write_figure(say_only(title, f"nothing can be compared with {baseline} yet"), path)
    looks = looks_of(list(dict.fromkeys(line.setting for line in [*lines, *pooled])))
    blocks = [(label, list(block)) for label, block in groupby(lines, key=lambda line: line.label)]
    pooled_blocks = [(label, list(block)) for label, block in groupby(pooled, key=lambda line: line.label)]
    height = sum(_block_height(label, block) for label, block in [*blocks, *pooled_blocks])
    figure = Figure(figsize=(PAGE_WIDTH, 1), layout="constrained")
    caption = (
        f"line: 95 % interval; shaded: less than {100 * rope:g} points, of no use; "
        "filled marker: decided; open: undecided; bold: better or worse"
    )
    edges = head(figure, title) + foot(figure, caption)
    figure.set_figheight(LINE_HEIGHT * height + edges + 0.2 + 0.15 * lines_in(wrapped(baseline, BASELINE_WIDTH)) + 0.2)
    figure.set_layout_engine("constrained", w_pad=0.1)
    axes = figure.subplots()
    _frame(axes, [*lines, *pooled], rope, baseline)
    axes.set_ylim(height, 0)  # y counts lines of text downwards
    y = 0.0
    for block in blocks:
        y = _draw_block(axes, y, *block, looks, diamonds=False)
    for block in pooled_blocks:
        y = _draw_block(axes, y, *block, looks, diamonds=True)
    return write_figure(figure, path)


def _frame(axes: Axes, lines: Sequence[Line], rope: float, baseline: str) -> None:
    low, high = _limits(lines, rope)
    axes.set_xlim(100 * low, 100 * high)
    axes.axvspan(-100 * rope, 100 * rope, color=BAND, linewidth=0, zorder=0.5)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    axes.tick_params(axis="x", labelsize=SMALL_SIZE, colors=INK)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.set_yticks([])
    label = f"accuracy minus {wrapped(baseline, BASELINE_WIDTH)}, points"
    axes.set_xlabel(label, fontsize=SMALL_SIZE, color=INK)


def _tick(value: float) -> str:
    return "0" if abs(value) < 1e-9 else f"{value:+g}".replace("-", "\N{MINUS SIGN}")


def _limits(lines: Sequence[Line], rope: float) -> tuple[float, float]:
    """Return the ends of the axis: every mean and the band are inside, and all but the widest intervals."""
    reaches = [max(abs(line.low), abs(line.high)) for line in lines if line.low is not None and line.high is not None]
    cap = WIDEST * statistics.median(reaches) if reaches else 0.0
    bound = max(cap, 1.15 * max(abs(line.mean) for line in lines), 2 * rope, 0.001)
    if reaches and max(reaches) <= CUT_FROM * bound:
        bound = max(bound, *reaches)
    low = min(line.low if line.low is not None else line.mean for line in lines)
    high = max(line.high if line.high is not None else line.mean for line in lines)
    low, high = min(max(low, -bound), -1.6 * rope), max(min(high, bound), 1.6 * rope)
    margin = 0.04 * (high - low) or 0.001
    return low - margin, high + margin


def _line_height(line: Line) -> float:
    return max(map(_height, (wrapped(line.setting, SETTING_WIDTH), wrapped(line.verdict_text, VERDICT_WIDTH))))


def _block_height(label: str, block: Sequence[Line]) -> float:
    return _height(wrapped(label, HEADER_WIDTH)) + sum(map(_line_height, block))


def _height(text: str) -> float:
    return 1 + NEXT_LINE * (lines_in(text) - 1)


def _draw_block(
    axes: Axes, y: float, label: str, block: Sequence[Line], looks: dict[str, Look], diamonds: bool
) -> float:
    """Draw a header and its lines from `y` down and return where they end."""
    header = wrapped(label, HEADER_WIDTH)
    rows = _height(header)
    figure = axes.get_figure()
    assert figure is not None
    across = blended_transform_factory(figure.transFigure, axes.transData)
    strip = Rectangle((0, y), 1, rows, transform=across, color=STRIP, linewidth=0, clip_on=False, zorder=2)
    strip.set_in_layout(False)
    axes.add_patch(strip)
    text = axes.text(
        0.01, y + rows / 2, header, transform=across, va="center", fontsize=SMALL_SIZE + 0.5, color=INK,
        weight="bold" if diamonds else "normal", zorder=3,
    )  # fmt: skip
    text.set_in_layout(False)
    y += rows
    for line in block:
        rows = _line_height(line)
        _draw_line(axes, y + rows / 2, line, looks[line.setting], diamonds)
        y += rows
    return y


def _draw_line(axes: Axes, y: float, line: Line, look: Look, diamond: bool) -> None:
    beside = axes.get_yaxis_transform()
    axes.text(
        -0.02, y, wrapped(line.setting, SETTING_WIDTH), transform=beside, ha="right", va="center",
        fontsize=SMALL_SIZE, color=INK,
    )  # fmt: skip
    numbers = points(line.mean)
    if line.low is not None and line.high is not None:
        numbers += f"  [{points(line.low)}, {points(line.high)}]"
    axes.text(1.02, y, numbers, transform=beside, va="center", fontsize=SMALL_SIZE, color=INK)
    axes.annotate(
        wrapped(line.verdict_text, VERDICT_WIDTH), (1.02, y), xycoords=beside, xytext=(122, 0),
        textcoords="offset points", va="center", fontsize=SMALL_SIZE, color=INK, annotation_clip=False,
        weight="bold" if line.verdict in ("better", "worse") else "normal",
    )  # fmt: skip
    low, high = axes.get_xlim()
    if line.low is not None and line.high is not None:
        left, right = max(100 * line.low, low), min(100 * line.high, high)
        if diamond:
            corners = [
                (100 * line.low, y),
                (100 * line.mean, y - 0.3),
                (100 * line.high, y),
                (100 * line.mean, y + 0.3),
            ]
            fill = "white" if line.verdict == "undecided" else look.color
            axes.add_patch(Polygon(corners, facecolor=fill, edgecolor=look.color, linewidth=1.4, zorder=4))
        else:
            axes.plot([left, right], [y, y], color=look.color, linewidth=1.6, zorder=4, solid_capstyle="butt")
        for cut, end, arrow in ((left > 100 * line.low, low, "<"), (right < 100 * line.high, high, ">")):
            if cut:
                axes.plot([end], [y], color=look.color, marker=arrow, markersize=6, zorder=4, clip_on=False)
    if not diamond or line.low is None:
        axes.plot(
            [100 * line.mean], [y], color=look.color, marker=look.marker, markersize=6, markeredgewidth=1.4, zorder=5,
            markerfacecolor="white" if line.verdict == "undecided" else look.color,
        )  # fmt: skip
