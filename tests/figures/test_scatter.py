"""Rules of the pictures of points: cost against accuracy, shift against gain, and ranks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.figures.drawing import (
    SVG,
    Drawn,
    draw_cost,
    draw_ranks,
    has,
    parse,
    texts,
)
from tracker.figures.ranks import critical_difference_diagram
from tracker.figures.shift import ShiftPanel, ShiftPoint, shift_against_gain
from tracker.figures.tradeoff import Point, cost_against_accuracy


def test_cost_names_each_model_once_a_panel(drawn: Drawn) -> None:
    """Every dataset has a panel, every model its name there once, and the cost axis is logarithmic from 1 to 10 on."""
    _, svg = drawn[draw_cost]
    said = texts(svg)
    assert said.count("resnet18") == 3
    assert {"svhn", "cifar10", "training time of one run (s)"} <= set(said)
    assert {"2", "5", "10", "20"} <= set(said)
    assert has(svg, "one SD over seeds")


def test_cost_is_linear_in_a_short_range(tmp_path: Path) -> None:
    """Costs within a factor of 10 have a linear axis; lone seeds have no error bars and none are told of."""
    given = [Point("digits", "cnn", "instance", seconds, 0.9, None) for seconds in (10.0, 20.0, 30.0)]
    (svg,) = cost_against_accuracy(given, tmp_path / "a.svg", "t")
    assert {"10", "20", "30"} <= set(texts(svg))
    assert not has(svg, "error bars")


def test_cost_joins_what_nothing_beats(tmp_path: Path) -> None:
    """A point that is dearer and no better than another is not on the line."""
    frontier = [Point("d", "m", "instance", 1, 0.5, None), Point("d", "m", "instance", 3, 0.7, None)]
    beaten = Point("d", "m", "instance", 2, 0.5, None)
    better = Point("d", "m", "instance", 2, 0.6, None)
    drawn = [steps(cost_against_accuracy([*frontier, middle], tmp_path / f"{middle.accuracy}.svg", "t")) for middle in
             (beaten, better)]  # fmt: skip
    assert drawn == [2, 4]  # a step is a line across and a line up


def steps(written: list[Path]) -> int:
    """Count the lines of the front."""
    for element in parse(written[0]).iter(f"{SVG}path"):
        if "stroke: #9a9a9a; stroke-width: 1.2" in element.attrib.get("style", ""):
            return element.attrib["d"].count("L")
    raise AssertionError("there is no front")


def test_shift_shows_where_there_is_none(tmp_path: Path) -> None:
    """The axis of the shift begins at 0, however far all points are; what is told of the correlation stands above."""
    shown = [ShiftPoint("instance", 40.0, 0.01, None, None)]
    (svg,) = shift_against_gain([ShiftPanel("m", shown, "too few")], tmp_path / "a.svg", "t", "finetune")
    said = texts(svg)
    assert {"0", "40", "too few", "m", "accuracy minus finetune, points", "instance"} <= set(said)
    assert not has(svg, "95 % intervals")


def test_shift_panel_without_points(tmp_path: Path) -> None:
    """A measure without any point says so beside one that has some."""
    panels = [ShiftPanel("a", [ShiftPoint("instance", 1.0, 0.0, -0.1, 0.1)], "rho"), ShiftPanel("b", [], "none")]
    (svg,) = shift_against_gain(panels, tmp_path / "a.svg", "t", "finetune")
    assert {"nothing to draw", "rho", "none"} <= set(texts(svg))
    assert has(svg, "95 % intervals")


def test_ranks_are_told_with_their_settings(drawn: Drawn) -> None:
    """Every setting has its mean rank beside it, better ones to the left."""
    _, svg = drawn[draw_ranks]
    anchors = {
        element.text: "end" if "text-anchor: end" in element.attrib["style"] else "start"
        for element in parse(svg).iter(f"{SVG}text")
    }
    assert anchors["instance  1.20"] == anchors["finetune  1.90"] == "end"
    assert anchors["pretrain  3.10"] == anchors["minmax  3.80"] == "start"
    assert "critical difference 1.40" in anchors


@pytest.mark.parametrize("settings", [1, 2, 9])
def test_ranks_of_any_number(settings: int, tmp_path: Path) -> None:
    """One setting, two, or more than there are looks make a picture, also when the difference exceeds the axis."""
    means = {f"setting {place}": 1.0 + place for place in range(settings)}
    (svg,) = critical_difference_diagram(means, 20.0, [tuple(means)], tmp_path / "a.svg", "t")
    assert sum(text.startswith("setting ") for text in texts(svg)) == settings
    assert has(svg, "critical difference 20.00, longer than the axis")
