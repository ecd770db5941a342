"""Names written beside points, where they cover nothing if there is such a place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from tracker.figures.files import make_plain
from tracker.figures.style import INK, SMALL_SIZE, wrapped

NAME_WIDTH = 26
"""Characters of a line of a name."""

MARKER = 5.0
"""Pixels from the middle of a marker to its edge."""

OUTSIDE = 100.0
"""A pixel that a name juts out of its panel is as bad as so many square pixels that it covers."""

Spot = tuple[float, float, float]
"""A point and the length of its error bar to either side, in data units."""

Place = tuple[Spot, tuple[float, float], str, str]
"""A point, how far from it in typographic points, and which corner of the name is there."""


def write_names(
    figure: Figure,
    names: Sequence[tuple[Axes, str, Sequence[Spot]]],
    steps: Mapping[Axes, Sequence[tuple[float, float]]],
) -> None:
    """Write each name once, at one of its points; to be called when all else is drawn.

    Args:
        names: with their panel and points.
        steps: of each panel, the corners of a line in steps that names keep clear of.
    """
    make_plain(figure)
    figure.draw_without_rendering()  # lays the panels out, so that places are known
    taken = {axes: list(_step_boxes(axes, corners)) for axes, corners in steps.items()}
    for axes, _, spots in names:
        taken.setdefault(axes, []).extend(_marker_box(axes, spot) for spot in spots)
    for axes, name, spots in names:
        text = axes.annotate(
            wrapped(name, NAME_WIDTH), (0, 0), xytext=(0, 0), textcoords="offset points", fontsize=SMALL_SIZE,
            color=INK, zorder=4, annotation_clip=False,
        )  # fmt: skip
        text.set_in_layout(False)
        text.set_parse_math(False)
        places = list(_places(spots))
        costs = [_put(text, place, axes, figure.dpi, taken[axes]) for place in places]
        _put(text, places[costs.index(min(costs))], axes, figure.dpi, taken[axes])
        taken[axes].append(text.get_window_extent())


def _places(spots: Sequence[Spot]) -> Iterator[Place]:
    """Yield places for a name: over its highest point, under its lowest, beside any; then the same farther off."""
    ordered = sorted(spots, key=lambda spot: -spot[1])
    for reach in (6.0, 14.0):
        yield ordered[0], (0, reach), "center", "bottom"
        yield ordered[-1], (0, -reach), "center", "top"
        for spot in ordered:
            for side, corner in ((1, "left"), (-1, "right")):
                yield spot, (side * (reach + 2), 0), corner, "center"
                yield spot, (side * reach, reach), corner, "bottom"
                yield spot, (side * reach, -reach), corner, "top"


def _put(text: Annotation, place: Place, axes: Axes, dpi: float, taken: Sequence[Bbox]) -> float:
    """Put a name in its place, a centred one moved sideways into the panel, and return how bad it is there."""
    (x, y, _), (right, up), ha, va = place
    text.xy = (x, y)
    text.set_position((right, up))
    text.set(ha=ha, va=va)
    frame, box = axes.get_window_extent(), text.get_window_extent()
    if ha == "center":
        pixels = max(0.0, frame.x0 - box.x0) - max(0.0, box.x1 - frame.x1)
        text.set_position((right + pixels * 72 / dpi, up))
        box = text.get_window_extent()
    gaps = frame.x0 - box.x0, box.x1 - frame.x1, frame.y0 - box.y0, box.y1 - frame.y1
    return OUTSIDE * sum(max(0.0, float(gap)) for gap in gaps) + sum(_shared(box, other) for other in taken)


def _marker_box(axes: Axes, spot: Spot) -> Bbox:
    """Return what a marker with its error bar covers, in pixels."""
    x, y, error = spot
    (left, bottom), (right, top) = axes.transData.transform([(x, y - error), (x, y + error)])
    return Bbox.from_extents(left - MARKER, bottom - MARKER, right + MARKER, top + MARKER)


def _step_boxes(axes: Axes, corners: Sequence[tuple[float, float]]) -> Iterator[Bbox]:
    """Yield what a line in steps covers, in pixels."""
    for (x, y), (next_x, next_y) in pairwise(axes.transData.transform(corners)):
        yield Bbox.from_extents(x, y - 1, next_x, y + 1)
        yield Bbox.from_extents(next_x - 1, y, next_x + 1, next_y)


def _shared(one: Bbox, other: Bbox) -> float:
    """Return the area that two boxes share, square pixels."""
    both = Bbox.intersection(one, other)
    return float(both.width * both.height) if both is not None else 0.0
