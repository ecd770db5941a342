"""Which settings can be told apart by their ranks over datasets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tracker.figures.files import write_figure
from tracker.figures.style import (
    INK,
    PAGE_WIDTH,
    SMALL_SIZE,
    TEXT_SIZE,
    bare,
    head,
    lines_in,
    looks_of,
    say_only,
    wrapped,
)

NAME_WIDTH = 26
"""Characters of a line of a setting's name."""

LINE = 0.28
"""Inches between one name and the next."""


def critical_difference_diagram(
    mean_ranks: Mapping[str, float],
    critical_difference: float,
    cliques: Sequence[Sequence[str]],
    path: Path,
    title: str,
) -> list[Path]:
    """Draw mean ranks on an axis, the best at the left; a bar joins settings that cannot be told apart.

    Args:
        mean_ranks: by setting, 1 is best.
        critical_difference: drawn to scale above the axis.
        cliques: groups of settings less than that apart.
        path: as `write_figure` reads it.

    Returns:
        What was written.

    Source: Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7 (2006).
    """
    if not mean_ranks:
        return write_figure(say_only(title, "no dataset has all settings yet"), path)
    ordered = sorted(mean_ranks, key=lambda setting: mean_ranks[setting])
    names = {setting: wrapped(f"{setting}  {mean_ranks[setting]:.2f}", NAME_WIDTH) for setting in ordered}
    half = math.ceil(len(ordered) / 2)
    sides = ordered[:half], ordered[half:][::-1]  # the outermost rank is uppermost on either side
    bars = 0.16 * len(cliques)
    depths = [_depths([names[setting] for setting in side], 0.25 + bars) for side in sides]
    bottom = max(depth for side in depths for depth in side) + 0.25 if ordered else 0.5
    top = 0.95
    figure = Figure(figsize=(PAGE_WIDTH, 1), layout="constrained")
    figure.set_figheight(top + bottom + head(figure, title))
    axes = figure.subplots()
    bare(axes)
    last = max(len(ordered), 2)
    axes.set(xlim=(0.85, last + 0.15), ylim=(bottom, -top))  # y in inches, downwards from the axis
    _draw_axis(axes, last, critical_difference)
    looks = looks_of(list(mean_ranks))
    beside = axes.get_yaxis_transform()
    for side, deep, edge, ha in zip(sides, depths, (0.0, 1.0), ("right", "left"), strict=True):
        reach = 0.85 if edge == 0 else last + 0.15
        for setting, depth in zip(side, deep, strict=True):
            rank, color = mean_ranks[setting], looks[setting].color
            axes.plot([rank, rank, reach], [0, depth, depth], color=color, linewidth=1.3, zorder=2)
            axes.plot([rank], [0], color=color, marker=looks[setting].marker, markersize=6, zorder=4, clip_on=False)
            axes.text(
                edge + (-0.01 if edge == 0 else 0.01), depth, names[setting], transform=beside, ha=ha, va="center",
                fontsize=TEXT_SIZE, color=INK,
            )  # fmt: skip
    for place, clique in enumerate(cliques):
        ranks = [mean_ranks[setting] for setting in clique]
        y = 0.2 + 0.16 * place
        axes.plot(
            [min(ranks) - 0.03, max(ranks) + 0.03], [y, y], color=INK, linewidth=4, solid_capstyle="round", zorder=3
        )
    return write_figure(figure, path)


def _depths(names: Sequence[str], first: float) -> list[float]:
    """Return how deep under the axis each name stands, by the lines that it and those before it take."""
    depths, y = [], first
    for name in names:
        height = max(LINE, 0.19 * lines_in(name) + 0.1)
        depths.append(y + height / 2)
        y += height
    return depths


def _draw_axis(axes: Axes, last: int, critical_difference: float) -> None:
    axes.plot([1, last], [0, 0], color=INK, linewidth=1.2, zorder=1)
    for rank in range(1, last + 1):
        axes.plot([rank, rank], [0, -0.08], color=INK, linewidth=1.2, zorder=1)
        axes.text(rank, -0.12, str(rank), ha="center", va="bottom", fontsize=SMALL_SIZE, color=INK)
    axes.text(
        last, -0.36, "mean rank over datasets, 1 is best", ha="right", va="bottom", fontsize=SMALL_SIZE, color=INK
    )
    shown = min(critical_difference, last - 1)
    cut = shown < critical_difference
    axes.plot([1, 1 + shown], [-0.6, -0.6], color=INK, linewidth=1.6)
    for end, marker in ((1.0, "|"), (1 + shown, ">" if cut else "|")):
        axes.plot([end], [-0.6], color=INK, marker=marker, markersize=9, markeredgewidth=1.6)
    more = ", longer than the axis" if cut else ""
    axes.text(
        1, -0.7, f"critical difference {critical_difference:.2f}{more}", ha="left", va="bottom", fontsize=SMALL_SIZE,
        color=INK,
    )  # fmt: skip
