"""Rules of the forest plot: every comparison with its numbers, none squeezed by another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.figures.drawing import (
    Drawn,
    draw_forest,
    parse,
    pixels,
    texts,
)
from tracker.figures.forest import Line, forest
from tracker.figures.style import LOOKS


def lines(number: int, **changes: Any) -> list[Line]:
    """Return comparisons of three settings in each row."""
    settings = ("instance", "minmax", "pretrain")
    given = {"mean": 0.01, "low": 0.0, "high": 0.02, "verdict": "undecided", "verdict_text": "undecided"}
    return [Line(f"row {place // 3}", settings[place % 3], **{**given, **changes}) for place in range(number)]


def test_forest_grows_with_its_lines(tmp_path: Path) -> None:
    """One comparison makes a small picture; 48 make a tall one of the same width, every row named once."""
    heights = []
    for number in (1, 48):
        (svg,) = forest(lines(number), tmp_path / f"{number}.svg", "t", 0.003, "finetune")
        assert parse(svg).attrib["width"] == "675pt"
        heights.append(float(parse(svg).attrib["height"].removesuffix("pt")))
        assert sum(text.startswith("row ") for text in texts(svg)) == -(-number // 3)
    assert heights[0] < 150
    assert 1000 < heights[1] < 1400


def test_forest_prints_numbers_and_verdicts(drawn: Drawn) -> None:
    """Each line has its mean, its interval where there is one, and its verdict in words, in points."""
    _, svg = drawn[draw_forest]
    said = texts(svg)
    assert "+1.00  [+0.20, +1.80]" in said
    assert "+0.20" in said
    assert {"better", "equivalent", "undecided, 2 more seeds", "mean over 2 rows"} <= set(said)
    assert "0.3 points" in "".join(said)


def test_forest_markers_are_filled_when_decided(tmp_path: Path) -> None:
    """A decided comparison has a filled marker, an undecided one an open one."""
    color, counts = LOOKS["instance"].color, {}
    for verdict in ("undecided", "equivalent", "worse"):
        given = lines(1, verdict=verdict, verdict_text="said", low=None, high=None)
        (png,) = forest(given, tmp_path / f"{verdict}.png", "t", 0.003, "finetune")
        counts[verdict] = pixels(png, color)
    assert counts["equivalent"] == counts["worse"] > counts["undecided"] + 15 > 15


def test_forest_cuts_what_would_squeeze_the_rest(tmp_path: Path) -> None:
    """One interval a hundred times as wide as the others is cut, its numbers printed; the others keep their width."""
    color, widths = LOOKS["instance"].color, []
    for high in (0.02, 2.0):
        given = [*lines(6), Line("row 2", "minmax", 0.01, 0.0, high, "undecided", "undecided")]
        png, svg = forest(given, tmp_path / str(high), "t", 0.003, "finetune")
        widths.append(pixels(png, color))
        assert f"+1.00  [0.00, +{100 * high:.2f}]" in texts(svg)
    assert widths[1] > widths[0] / 3.5 > 50


def test_forest_does_not_cut_what_is_a_little_wider(tmp_path: Path) -> None:
    """An interval that would take the axis less than twice as far as the rest is shown whole: no arrow."""
    given = [*lines(6), Line("row 2", "minmax", 0.05, 0.0, 0.1, "undecided", "undecided")]
    (svg,) = forest(given, tmp_path / "a.svg", "t", 0.003, "finetune")
    assert "+10" in texts(svg)


def test_forest_draws_pooled_effects_as_diamonds(tmp_path: Path) -> None:
    """A pooled effect covers an area, not a line, and is named in bold."""
    color = LOOKS["instance"].color
    effect = Line("mean over 2 rows", "instance", 0.01, 0.0, 0.02, "better", "better")
    (line,) = forest([effect], tmp_path / "a.png", "t", 0.003, "finetune")
    (diamond,) = forest([], tmp_path / "b.png", "t", 0.003, "finetune", [effect])
    assert pixels(diamond, color) > 2 * pixels(line, color) > 0
