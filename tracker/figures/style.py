"""How every picture looks: sizes, and colours that colour-blind readers can tell apart.

Figures are built on matplotlib's object interface: no pyplot, no state of the process, so threads
may draw at once.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

PAGE_WIDTH = 9.375
"""Inches: 900 pixels in a browser, where a point of text is 1.33 pixels."""
PANEL_HEIGHT, LONE_WIDTH = 3.3, 6.5
"""Inches: of a panel among others, and the width of a picture that is one panel."""

TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 12.0, 10.0, 8.5
CHARACTERS_AN_INCH, SMALL_CHARACTERS_AN_INCH, TITLE_CHARACTERS_AN_INCH = 11.5, 14.5, 10.2
"""Of text, of small text and of titles, on average and a little below, so that lines fit."""

INK, FAINT = "#222222", "#9a9a9a"


@dataclass(frozen=True)
class Look:
    """How one line is drawn: told apart by colour, and by dashes and marker where there is none."""

    color: str
    dashes: Literal["solid"] | tuple[float, tuple[float, ...]]
    marker: str


# Okabe and Ito's palette, "Color Universal Design" (2008), without its yellow, which is lost on white.
LOOKS: dict[str, Look] = {
    "finetune": Look("#0072B2", "solid", "o"),
    "pretrain": Look("#D55E00", (0, (5, 1)), "s"),
    "instance": Look("#009E73", (0, (4, 1, 1, 1)), "^"),
    "minmax": Look("#CC79A7", (0, (1, 1)), "D"),
}
"""A normalization has the same look in every picture of every study."""

OTHER_LOOKS = (
    Look("#E69F00", "solid", "v"),
    Look("#56B4E9", (0, (5, 1)), "P"),
    Look("#000000", (0, (4, 1, 1, 1)), "X"),
    Look("#7F7F7F", (0, (1, 1)), "*"),
)


def looks_of(names: Sequence[str]) -> dict[str, Look]:
    """Give each name its look: the built-in normalizations their own, others the next one free, in order."""
    others = [name for name in names if name not in LOOKS]
    free = {name: OTHER_LOOKS[number % len(OTHER_LOOKS)] for number, name in enumerate(others)}
    return {name: LOOKS.get(name) or free[name] for name in names}


def epoch_axis(axes: Axes) -> None:
    """Tick whole epochs only, at round numbers."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def dress(axes: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """Put plain title, axis labels, a light grid and no box around a panel."""
    axes.set_title(title, fontsize=TEXT_SIZE, color=INK, loc="left", parse_math=False)
    axes.set_xlabel(x, fontsize=TEXT_SIZE, color=INK, parse_math=False)
    axes.set_ylabel(y, fontsize=TEXT_SIZE, color=INK, parse_math=False)
    axes.tick_params(labelsize=SMALL_SIZE, colors=INK)
    axes.grid(True, color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)


def head(figure: Figure, title: str) -> float:
    """Put a title over the whole picture, at the left, and return how many inches it takes."""
    text = wrapped(title, int(figure.get_figwidth() * TITLE_CHARACTERS_AN_INCH))
    figure.suptitle(text, fontsize=TITLE_SIZE, color=INK, x=0.01, ha="left")
    return 0.2 * lines_in(text) + 0.1


def foot(figure: Figure, caption: str) -> float:
    """Put a caption under the whole picture, at the left, and return how many inches it takes."""
    text = wrapped(caption, int(figure.get_figwidth() * SMALL_CHARACTERS_AN_INCH))
    figure.supxlabel(text, fontsize=SMALL_SIZE, color=INK, x=0.01, ha="left")
    return 0.15 * lines_in(text) + 0.1


def say_only(title: str, sentence: str, width: float = PAGE_WIDTH) -> Figure:
    """Return a small picture that says why there is nothing to draw."""
    figure = Figure(layout="constrained")
    figure.set_size_inches(width, 0.9)
    figure.set_size_inches(width, 0.9 + head(figure, title))
    axes = figure.subplots()
    bare(axes)
    say(axes, wrapped(sentence, int(width * CHARACTERS_AN_INCH)))
    return figure


def lines_in(text: str) -> int:
    """Count the lines of a text."""
    return text.count("\n") + 1


def wrapped(text: str, width: int) -> str:
    """Break text into lines of at most `width` characters; a longer word is broken, never cut."""
    return textwrap.fill(text, max(width, 1))


def points(difference: float) -> str:
    """Print a difference of two fractions in points, with its sign; 0.00 has none."""
    told = f"{100 * difference:+.2f}".replace("-", "\N{MINUS SIGN}")
    return told if told.strip("+0.\N{MINUS SIGN}") else "0.00"


def legend_handle(name: str, look: Look, line: bool = True) -> Line2D:
    """Return what a legend shows for a look, with its line or as a marker alone."""
    dashes = look.dashes if line else "none"
    return Line2D([], [], color=look.color, linestyle=dashes, marker=look.marker, markersize=5, label=name)


def legend_below(figure: Figure, handles: Iterable[Artist], title: str = "", length: float = 2.0) -> None:
    """Put a legend under everything else, in as many columns as the names leave room for."""
    shown = list(handles)
    lengths = [len(str(handle.get_label())) + 5 + 2 * length for handle in shown]
    room = figure.get_figwidth() * CHARACTERS_AN_INCH
    columns = max(len(shown), 1)
    while columns > 1 and sum(max(lengths[place::columns]) for place in range(columns)) > room:
        columns -= 1
    figure.legend(
        handles=[handle for place in range(columns) for handle in shown[place::columns]],  # filled column by column
        loc="outside lower center", ncols=columns, frameon=False,
        fontsize=TEXT_SIZE, title=title or None, title_fontsize=SMALL_SIZE, handlelength=length,
    )  # fmt: skip


def say(axes: Axes, sentence: str) -> None:
    """Say in the middle of a panel why there is nothing in it."""
    axes.text(0.5, 0.5, sentence, transform=axes.transAxes, ha="center", va="center", color=FAINT, fontsize=TEXT_SIZE)


def bare(axes: Axes) -> None:
    """Take everything off a panel but what is drawn in it."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def laid_out(count: int, title: str) -> tuple[Figure, list[Axes], int]:
    """Lay out so many panels below a title, two beside each other where there are several.

    Returns:
        The figure, its panels row by row, and how many stand in a row.
    """
    columns = min(count, 2)
    rows = -(-count // columns)
    height = PANEL_HEIGHT * rows + 0.5
    figure = Figure(figsize=(PAGE_WIDTH if columns > 1 else LONE_WIDTH, height), layout="constrained")
    figure.set_figheight(height + head(figure, title))
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid[count:]:
        bare(axes)
    return figure, grid[:count], columns
