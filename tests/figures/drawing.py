"""Pictures of a comparison, drawn from little, and how tests read what was written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

from tracker.figures.forest import Line, forest
from tracker.figures.grid import history_grid
from tracker.figures.heatmap import Cell, delta_heatmap
from tracker.figures.ranks import critical_difference_diagram
from tracker.figures.scaling import Growth, cost_scaling
from tracker.figures.shift import ShiftPanel, ShiftPoint, shift_against_gain
from tracker.figures.tradeoff import Point, cost_against_accuracy

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"

Draw = Callable[..., list[Path]]
Drawn = dict[Draw, list[Path]]


def draw_forest(path: Path, name: str = "instance", title: str = "a study") -> list[Path]:
    """Draw two blocks and a pooled effect."""
    lines = [
        Line(f"resnet18/{name}", name, 0.01, 0.002, 0.018, "better", "better"),
        Line(f"resnet18/{name}", "minmax", -0.001, -0.002, 0.0005, "equivalent", "equivalent"),
        Line("resnet18/svhn", name, 0.002, None, None, "undecided", "undecided, 2 more seeds"),
    ]
    pooled = [Line("mean over 2 rows", name, 0.004, -0.001, 0.009, "undecided", "undecided")]
    return forest(lines, path, title, 0.003, name, pooled)


def draw_heatmap(path: Path, name: str = "instance", title: str = "a study") -> list[Path]:
    """Draw two rows of two settings, one cell of them absent."""
    rows, settings = [f"resnet18/{name}", "resnet18/svhn"], [name, "minmax"]
    cells = {(row, setting): Cell(0.01, "better") for row in rows for setting in settings}
    del cells[rows[1], settings[1]]
    return delta_heatmap(cells, path, title, rows, settings, name)


def draw_cost(path: Path, name: str = "instance", title: str = "a study") -> list[Path]:
    """Draw three datasets with two models and two settings each."""
    given = [
        Point(dataset, model, setting, seconds, 0.5 + 0.01 * seconds, 0.01 if setting == name else None)
        for dataset in (name, "svhn", "cifar10")
        for model, seconds in ((name, 2.0), ("resnet18", 30.0))
        for setting in (name, "minmax")
    ]
    return cost_against_accuracy(given, path, title)


def draw_shift(path: Path, name: str = "instance", title: str = "a study") -> list[Path]:
    """Draw two measures of three points."""
    shown = [ShiftPoint(name, shift, 0.01 - shift / 100, -0.01, 0.02) for shift in (0.5, 1.0, 1.5)]
    panels = [ShiftPanel("distance of means", shown, "rho = 1"), ShiftPanel(name, shown[:1], name)]
    return shift_against_gain(panels, path, title, name)


def draw_ranks(path: Path, name: str = "instance", title: str = "a study") -> list[Path]:
    """Draw four settings in two cliques."""
    means = {name: 1.2, "finetune": 1.9, "pretrain": 3.1, "minmax": 3.8}
    return critical_difference_diagram(means, 1.4, [(name, "finetune"), ("pretrain", "minmax")], path, title)


def draw_grid(path: Path, name: str = "instance", title: str = "a study") -> list[Path]:
    """Draw learning histories in one panel of four."""
    curves = {("resnet18", name): {name: [[0.5, 0.7]], "minmax": [[0.4, 0.8]]}}
    return history_grid(curves, path, ["resnet18", name], [name, "svhn"], [name, "minmax"], title)


def draw_scaling(path: Path, name: str = "instance", title: str = "a study") -> list[Path]:
    """Draw a cost that grows, one of a single point, and one that was not measured."""
    panels = [
        Growth(name, [1.0, 2.0, 4.0], [[1.0, 1.1], [2.0, 2.1], [3.0, 3.5]], f"exponent of {name}"),
        Growth("classes", [10.0], [[0.5, 0.5]], "too few points"),
        Growth("trials", [], [], "too few points"),
    ]
    return cost_scaling(panels, path, title)


DRAWS = (draw_forest, draw_heatmap, draw_cost, draw_shift, draw_ranks, draw_grid, draw_scaling)


def parse(path: Path) -> ElementTree.Element:
    """Return the root of an SVG, which must be well-formed."""
    return ElementTree.fromstring(path.read_bytes())  # noqa: S314


def texts(path: Path) -> list[str]:
    """Return the texts of an SVG, one a line of text."""
    return [element.text or "" for element in parse(path).iter(f"{SVG}text")]


def has(path: Path, sentence: str) -> bool:
    """Tell whether an SVG says this, be it broken into lines anywhere."""
    return re.sub(r"\s", "", sentence) in re.sub(r"\s", "", "".join(texts(path)))


def pixels(path: Path, color: str) -> int:
    """Count the pixels of exactly this colour."""
    wanted = tuple(int(color[place : place + 2], 16) for place in (1, 3, 5))
    with Image.open(path) as image:
        counts = image.convert("RGB").getcolors(1 << 24) or []
    return sum(count for count, found in counts if found == wanted)
