"""Rules of the pictures: they show what they are given, always alike, whatever the names."""

from __future__ import annotations

import ast
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tracker import figures
from tracker.figures.confusion import confusion_matrix
from tracker.figures.curve import learning_curve
from tracker.figures.grid import history_grid
from tracker.figures.style import LOOKS, OTHER_LOOKS, looks_of
from tracker.study.recipe import NORMALIZATIONS

HISTORY = {
    "train_acc": [0.5, 0.8, 0.9],
    "test_acc": [0.4, 0.7, 0.65],
    "train_loss": [1.2, 0.6, 0.3],
    "test_loss": [1.3, 0.8, 0.9],
    "lr": [0.001, 0.0005, 0.0],
}
DARKEST_BLUE = "#08306B"  # the end of matplotlib's Blues: a share of 1
AWKWARD = ("$5", "a_b$", "x^2", "\\frac{1}", "%", "a name of rather more than twenty-four letters")

Draw = Callable[..., None]


def draw_curve(path: Path, **changes: Any) -> None:
    """Draw a learning curve with everything on it."""
    learning_curve(**{"history": HISTORY, "path": path, "title": "a run", "best_epoch": 1, **changes})


def draw_confusion(path: Path, **changes: Any) -> None:
    """Draw a confusion matrix of two classes."""
    given = {"counts": np.array([[8, 2], [1, 9]]), "classes": ("cat", "dog"), "path": path, "title": "a run"}
    confusion_matrix(**{**given, **changes})


def draw_grid(path: Path, **changes: Any) -> None:
    """Draw one panel with two settings, two replicates each."""
    panel = {"finetune": [[0.5, 0.7], [0.4, 0.8]], "instance": [[0.2, 0.3], [0.1, 0.4]]}
    given = {
        "curves": {("resnet18", "digits"): panel},
        "path": path,
        "rows": ["resnet18"],
        "columns": ["digits"],
        "settings": ["finetune", "instance"],
        "title": "a study",
    }
    history_grid(**{**given, **changes})


DRAWS = pytest.mark.parametrize("draw", [draw_curve, draw_confusion, draw_grid])


def pixels(path: Path) -> np.ndarray:
    """Return a picture's pixels, (H, W, 3)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def count(path: Path, color: str) -> int:
    """Count the pixels of exactly this colour."""
    wanted = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
    return int((pixels(path) == wanted).all(axis=-1).sum())


@DRAWS
def test_png_is_whole_and_alone(draw: Draw, tmp_path: Path) -> None:
    """A picture is one readable PNG of a size that fits a screen, in a folder made for it, with nothing beside it."""
    draw(tmp_path / "new" / "picture.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["picture.png"]
    with Image.open(tmp_path / "new" / "picture.png") as image:
        image.load()
        assert image.format == "PNG"
        assert 500 <= image.width <= 2000
        assert 350 <= image.height <= 2000


@DRAWS
def test_same_content_same_bytes(draw: Draw, tmp_path: Path) -> None:
    """Drawn twice, and in eight threads at once, a picture has the same bytes: no date, no version, no state."""
    paths = [tmp_path / f"{number}.png" for number in range(9)]
    draw(paths[0])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(draw, paths[1:]))
    assert {path.read_bytes() for path in paths} == {paths[0].read_bytes()}
    with Image.open(io.BytesIO(paths[0].read_bytes())) as image:
        assert set(image.info) <= {"dpi"}


@DRAWS
@pytest.mark.parametrize("name", AWKWARD)
def test_names_are_text(draw: Draw, name: str, tmp_path: Path) -> None:
    """A title that reads like a formula is printed as it is, not parsed."""
    draw(tmp_path / "picture.png", title=f"{name} and {name}")


def test_class_names_are_text(tmp_path: Path) -> None:
    """Class names that read like formulas, or are very long, are printed and cut."""
    confusion_matrix(np.ones((6, 6), int), AWKWARD, tmp_path / "picture.png", "t")


def test_no_pyplot() -> None:
    """No figure module imports pyplot, whose state is the whole process's."""
    files = sorted(Path(figures.__file__).parent.glob("*.py"))
    assert len(files) == 13
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            assert not any("pyplot" in name for name in [*names, getattr(node, "module", None) or ""]), file


def test_learning_curve_shows_splits_it_has(tmp_path: Path) -> None:
    """A split without a history has no line, and one with a history has."""
    draw_curve(tmp_path / "two.png")
    draw_curve(tmp_path / "three.png", history={**HISTORY, "val_acc": [0.3, 0.5, 0.6]})
    orange = "#E69F00"
    assert count(tmp_path / "two.png", orange) == 0
    assert count(tmp_path / "three.png", orange) > 50


@pytest.mark.parametrize(("history", "best"), [({}, None), ({"test_acc": [0.5], "test_loss": [1.0]}, 0), (HISTORY, 7)])
def test_learning_curve_of_little(history: dict[str, list[float]], best: int | None, tmp_path: Path) -> None:
    """No epoch, one epoch, or a best epoch beyond the history still make a picture."""
    draw_curve(tmp_path / "picture.png", history=history, best_epoch=best)
    assert pixels(tmp_path / "picture.png").std() > 0


@pytest.mark.parametrize("classes", [2, 20, 21, 51, 200])
def test_confusion_matrix_of_any_size(classes: int, tmp_path: Path) -> None:
    """From 2 to 200 classes, a class without test images included, the picture keeps its size and its diagonal."""
    counts = np.eye(classes, dtype=int) * 50
    counts[1, 1] = 0
    names = [f"class {number}" for number in range(classes)]
    confusion_matrix(counts, names, tmp_path / "picture.png", "t")
    assert count(tmp_path / "picture.png", DARKEST_BLUE) > 500
    assert pixels(tmp_path / "picture.png").shape[1] < 1600


def test_confusion_matrix_is_shaded_by_true_class(tmp_path: Path) -> None:
    """A rare class that is always right is as dark as a common one: shares are of the row, not of all images."""
    draw_confusion(tmp_path / "even.png", counts=np.array([[10, 0], [0, 10]]))
    draw_confusion(tmp_path / "rare.png", counts=np.array([[9999, 0], [0, 1]]))
    dark = [count(tmp_path / name, DARKEST_BLUE) for name in ("even.png", "rare.png")]
    assert dark[1] == pytest.approx(dark[0], rel=0.05)


def test_confusion_matrix_refuses_other_shapes(tmp_path: Path) -> None:
    """Counts that do not fit the classes are refused, and nothing is written."""
    with pytest.raises(ValueError, match=r"must be \(3, 3\)"):
        confusion_matrix(np.eye(2, dtype=int), ("a", "b", "c"), tmp_path / "picture.png", "t")
    assert not list(tmp_path.iterdir())


def test_history_grid_shows_what_there_is(tmp_path: Path) -> None:
    """A setting's line is there exactly where it has a history; a panel without any still has its place."""
    green = LOOKS["instance"].color
    draw_grid(tmp_path / "both.png")
    draw_grid(tmp_path / "one.png", curves={("resnet18", "digits"): {"finetune": [[0.5, 0.7]]}})
    draw_grid(tmp_path / "none.png", curves={})
    both, one, none = (count(tmp_path / f"{name}.png", green) for name in ("both", "one", "none"))
    assert both > one + 50
    assert one == none > 0  # the legend


def test_history_grid_bands_need_replicates(tmp_path: Path) -> None:
    """Replicates that agree, and a lone one, show no band; those that differ do."""
    color = LOOKS["finetune"].color
    wide = {("resnet18", "digits"): {"finetune": [[0.2, 0.3], [0.8, 0.9]]}}
    lone = {("resnet18", "digits"): {"finetune": [[0.5, 0.6]]}}
    draw_grid(tmp_path / "wide.png", curves=wide, settings=["finetune"])
    draw_grid(tmp_path / "lone.png", curves=lone, settings=["finetune"])
    channels = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
    band = [round(255 - 0.15 * (255 - channel)) for channel in channels]
    near = {
        name: int((np.abs(pixels(tmp_path / name).astype(int) - band) <= 1).all(axis=-1).sum())
        for name in ("wide.png", "lone.png")
    }
    assert near["wide.png"] > 5000
    assert near["lone.png"] < 100


def test_history_grid_of_many_panels(tmp_path: Path) -> None:
    """A grid of 4 x 4 panels with histories of unequal length, one epoch and none makes a picture of a page's width."""
    rows, columns = [f"model{number}" for number in range(4)], [f"data{number}" for number in range(4)]
    curves = {
        (row, column): {"finetune": [[0.5] * epochs, [0.6] * (epochs + 1)]}
        for epochs, (row, column) in enumerate(zip(rows, columns, strict=True))
    }
    draw_grid(tmp_path / "picture.png", curves=curves, rows=rows, columns=columns)
    assert 1000 < pixels(tmp_path / "picture.png").shape[1] < 1150


def test_looks_are_fixed_and_different() -> None:
    """Every built-in normalization has a look of its own, the same in any company; strangers get the free ones."""
    assert set(LOOKS) == set(NORMALIZATIONS)
    every = [*LOOKS.values(), *OTHER_LOOKS]
    assert len({look.color for look in every}) == len({look.marker for look in every}) == len(every)
    assert looks_of(["histogram", "minmax"]) == {"histogram": OTHER_LOOKS[0], "minmax": LOOKS["minmax"]}
    assert looks_of(["minmax", "histogram"]) == looks_of(["histogram", "minmax"])
