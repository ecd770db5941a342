"""Rules of the heat map: symmetric, readable, and honest about what is absent."""

from __future__ import annotations

import re
from pathlib import Path

from tests.figures.drawing import (
    SVG,
    Drawn,
    draw_heatmap,
    has,
    parse,
    pixels,
)
from tracker.figures.heatmap import Cell, delta_heatmap
from tracker.figures.style import points

INK = "#222222"


def fills(path: Path) -> list[str]:
    """Return the fills of a heat map's cells, in the order of their numbers."""
    paths = [element.attrib.get("style", "") for element in parse(path).iter(f"{SVG}path")]
    found = [re.match(r"fill: (#\w+); stroke: #ffffff; stroke-width: 1.5", style) for style in paths]
    return [match[1] for match in found if match]


def luminance(color: str) -> float:
    """Return a colour's relative luminance, as WCAG 2 defines it."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_heatmap_is_symmetric_around_nothing(tmp_path: Path) -> None:
    """Equal differences of either sign are equally strong, red below and blue above; nothing is almost white."""
    rows = [f"row {place}" for place in range(3)]
    cells = {(row, "instance"): Cell(value, "undecided") for row, value in zip(rows, (-0.01, 0.0, 0.02), strict=True)}
    (svg,) = delta_heatmap(cells, tmp_path / "a.svg", "t", rows, ["instance"], "finetune")
    red, white, blue = ([int(color[place : place + 2], 16) for place in (1, 3, 5)] for color in fills(svg))
    assert red[0] > red[2] + 50
    assert blue[2] > blue[0] + 50
    assert min(white) > 240
    assert sum(blue) < sum(red) < sum(white)


def test_heatmap_numbers_can_be_read(tmp_path: Path) -> None:
    """Every number stands out from its cell by the 3:1 that WCAG asks of large text, on every shade."""
    rows = [f"row {place}" for place in range(-20, 21)]
    cells = {(row, "instance"): Cell(place / 1000, "worse") for place, row in enumerate(rows, -20)}
    (svg,) = delta_heatmap(cells, tmp_path / "a.svg", "t", rows, ["instance"], "finetune")
    colors = {
        element.text: re.search(r"fill: (#\w+)", element.attrib["style"]) for element in parse(svg).iter(f"{SVG}text")
    }
    shades = fills(svg)
    assert len(shades) == 41
    for cell, shade in zip(cells.values(), shades, strict=True):
        found = colors[points(cell.difference)]
        assert found is not None
        low, high = sorted((luminance(found[1]), luminance(shade)))
        assert (high + 0.05) / (low + 0.05) > 3, (cell, shade)


def test_heatmap_frames_verdicts(tmp_path: Path) -> None:
    """Better and worse are framed; equivalent and undecided are not."""
    counts = {}
    for verdict in ("better", "worse", "equivalent", "undecided"):
        cells = {("row", "instance"): Cell(0.001, verdict)}
        (png,) = delta_heatmap(cells, tmp_path / f"{verdict}.png", "t", ["row"], ["instance"], "finetune")
        counts[verdict] = pixels(png, INK)
    assert counts["better"] == counts["worse"] > counts["undecided"] + 500
    assert counts["equivalent"] == counts["undecided"]


def test_heatmap_says_what_is_absent(drawn: Drawn, tmp_path: Path) -> None:
    """An absent cell is hatched and counted under the picture; a full table says nothing of it."""
    _, svg = drawn[draw_heatmap]
    assert has(svg, "hatched (1): no comparison")
    assert len(list(parse(svg).iter(f"{SVG}pattern"))) == 1
    (full,) = delta_heatmap({("a", "b"): Cell(0, "better")}, tmp_path / "b.svg", "t", ["a"], ["b"], "finetune")
    assert not has(full, "hatched")
