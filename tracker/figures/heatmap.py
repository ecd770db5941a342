"""Differences to the baseline at one glance: rows down, settings across."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tracker.figures.files import write_figure
from tracker.figures.style import (
    FAINT,
    INK,
    PAGE_WIDTH,
    SMALL_CHARACTERS_AN_INCH,
    SMALL_SIZE,
    TEXT_SIZE,
    bare,
    foot,
    head,
    lines_in,
    points,
    say_only,
    wrapped,
)

SCALE, SCALE_ENDS = "RdBu", 0.4
"""Red to blue over white, ColorBrewer's, told apart with any kind of colour blindness; without its darkest ends,
which a frame could not be seen on."""

LEAST_SPAN = 0.005
"""The deepest shade stands for half a point at least, so that a table of nothing looks like nothing."""

EVEN_LUMINANCE = 0.21
"""On a ground of this luminance white text and dark text can be read equally well, at a contrast of 4 to 1."""

ROW_WIDTH = 44
ROW_HEIGHT, CELL_WIDTH = 0.34, 1.35


@dataclass(frozen=True)
class Cell:
    """A setting minus the baseline in one row, a fraction, and what may be said of it."""

    difference: float
    verdict: str


def delta_heatmap(
    cells: Mapping[tuple[str, str], Cell],
    path: Path,
    title: str,
    rows: Sequence[str],
    settings: Sequence[str],
    baseline: str,
) -> list[Path]:
    """Draw a table of differences, shaded around 0, with verdicts of better and worse framed.

    Args:
        cells: by row and setting; where one is absent the place is hatched.
        path: as `write_figure` reads it.
        rows: top to bottom.
        settings: left to right, without the baseline.

    Returns:
        What was written.
    """
    if not rows or not settings:
        return write_figure(say_only(title, f"nothing can be compared with {baseline} yet"), path)
    names = [wrapped(row, ROW_WIDTH) for row in rows]
    longest = max(len(line) for name in names for line in name.split("\n"))
    edge = longest / SMALL_CHARACTERS_AN_INCH + 0.2
    width = min(max(edge + CELL_WIDTH * len(settings), 5.0), max(PAGE_WIDTH, edge + 0.7 * len(settings)))
    across = int((width - edge) / len(settings) * SMALL_CHARACTERS_AN_INCH) - 1
    heads = [wrapped(setting, across) for setting in settings]
    heights = [max(ROW_HEIGHT, 0.15 * lines_in(name) + 0.1) for name in names]
    above = 0.15 * max(map(lines_in, heads)) + 0.1
    absent = len(rows) * len(settings) - sum((row, setting) in cells for row in rows for setting in settings)
    span = max([abs(cell.difference) for cell in cells.values()] + [LEAST_SPAN])
    figure = Figure(figsize=(width, 1), layout="constrained")
    edges = head(figure, title) + foot(figure, _caption(baseline, span, absent))
    figure.set_figheight(sum(heights) + above + edges)
    axes = figure.subplots()
    bare(axes)
    axes.set(xlim=(0, len(settings)), ylim=(sum(heights), 0))  # y in inches, downwards
    axes.tick_params(length=0, labelsize=SMALL_SIZE, labelcolor=INK)
    axes.xaxis.tick_top()
    axes.set_xticks([place + 0.5 for place in range(len(settings))], labels=heads)
    tops = [sum(heights[:place]) for place in range(len(rows))]
    axes.set_yticks([top + height / 2 for top, height in zip(tops, heights, strict=True)], labels=names)
    for row, top, height in zip(rows, tops, heights, strict=True):
        for place, setting in enumerate(settings):
            _draw_cell(axes, (place, top), height, cells.get((row, setting)), span)
    return write_figure(figure, path)


def _caption(baseline: str, span: float, absent: int) -> str:
    told = (
        f"points of accuracy, setting minus {baseline}; blue: above it, red: below, deepest at "
        f"{100 * span:.2f} points; framed and bold: better or worse by the verdict"
    )
    return told + (f"; hatched ({absent}): no comparison" if absent else "")


def _draw_cell(axes: Axes, corner: tuple[float, float], height: float, cell: Cell | None, span: float) -> None:
    x, y = corner
    if cell is None:
        axes.add_patch(Rectangle(corner, 1, height, facecolor="white", edgecolor=FAINT, linewidth=0, hatch="////"))
        return
    red, green, blue, _ = fill = colormaps[SCALE](0.5 + SCALE_ENDS * cell.difference / span)
    axes.add_patch(Rectangle(corner, 1, height, facecolor=fill, edgecolor="white", linewidth=1.5))
    decided = cell.verdict in ("better", "worse")
    if decided:
        axes.add_patch(Rectangle(corner, 1, height, fill=False, edgecolor=INK, linewidth=2.0, zorder=3, clip_on=False))
    dark = _luminance(red, green, blue) < EVEN_LUMINANCE
    axes.text(
        x + 0.5, y + height / 2, points(cell.difference), ha="center", va="center", fontsize=TEXT_SIZE,
        color="white" if dark else INK, weight="bold" if decided else "normal",
    )  # fmt: skip


def _luminance(*channels: float) -> float:
    """Return a colour's relative luminance.

    Source: W3C, Web Content Accessibility Guidelines 2.2.
    """
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
