"""How every picture looks: sizes, colours that colour-blind readers can tell apart, and how files are written.

Figures are built on matplotlib's object interface: no pyplot, no state of the process, so threads
may draw at once. Text is never read as a formula: a class may be called `$5`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tracker.study.home import replacing

DPI = 120
TITLE_SIZE, TEXT_SIZE, SMALL_SIZE = 12.0, 10.0, 8.5
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


def write_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; equal content gives equal bytes on one machine: no date, no version.

    Writes: `path`, with its folder.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})


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
