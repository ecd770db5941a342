"""Rules of all pictures of a comparison: PNG and SVG by one call, whole and alone, whatever the names."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from tests.figures.drawing import DRAWS, HREF, SVG, Draw, Drawn, draw_forest, draw_ranks, has, parse, texts
from tracker.figures.forest import forest
from tracker.figures.heatmap import delta_heatmap
from tracker.figures.ranks import critical_difference_diagram
from tracker.figures.shift import shift_against_gain
from tracker.figures.style import PAGE_WIDTH, points
from tracker.figures.tradeoff import cost_against_accuracy

HOSTILE = '$5_{x}$ <script>alert(1)</script> "&amp;\\frac{1}\' id="p1" url(#p1) ' + 80 * "x"


@pytest.mark.parametrize("draw", DRAWS)
def test_one_call_gives_png_and_svg(draw: Draw, drawn: Drawn) -> None:
    """A name without a suffix of a picture gets both, in a folder made for them, no wider than a page."""
    png, svg = drawn[draw]
    assert (png.name, svg.name) == ("study.v2.png", "study.v2.svg")
    assert sorted(png.parent.iterdir()) == [png, svg]
    with Image.open(png) as image:
        image.load()
        assert image.format == "PNG"
        assert 590 <= image.width <= round(PAGE_WIDTH * 120)
        assert image.getpixel((0, 0)) == image.getpixel((image.width - 1, image.height - 1)) == (255, 255, 255, 255)
        ratio = image.width / image.height
    width, height = (float(parse(svg).attrib[side].removesuffix("pt")) for side in ("width", "height"))
    assert width <= 675  # 900 pixels of a browser
    assert width / height == pytest.approx(ratio, rel=0.01)


def test_suffix_picks_the_format(tmp_path: Path) -> None:
    """A path that ends in .png or .svg gives that file alone."""
    assert draw_ranks(tmp_path / "a.png") == [tmp_path / "a.png"]
    assert draw_ranks(tmp_path / "b.svg") == [tmp_path / "b.svg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.svg"]


def test_same_content_same_bytes(drawn: Drawn, tmp_path: Path) -> None:
    """Drawn again elsewhere, all at once in as many threads, every file has the same bytes."""
    with ThreadPoolExecutor(len(DRAWS)) as pool:
        again = list(pool.map(lambda draw: draw(tmp_path / draw.__name__), DRAWS))
    for draw, files in zip(DRAWS, again, strict=True):
        assert [path.read_bytes() for path in files] == [path.read_bytes() for path in drawn[draw]], draw


@pytest.mark.parametrize("draw", DRAWS)
def test_names_are_text_and_whole(draw: Draw, tmp_path: Path) -> None:
    """A name that reads like a formula or like markup, and is very long, stands in the SVG as it is, uncut."""
    (path,) = draw(tmp_path / "a.svg", name=HOSTILE, title=f"study of {HOSTILE}")
    assert has(path, f"study of {HOSTILE}")
    said = re.sub(r"\s", "", "".join(texts(path)))
    assert said.count(re.sub(r"\s", "", HOSTILE)) >= 2
    drawing = ("svg", "defs", "style", "g", "path", "use", "text", "clipPath", "rect", "pattern")
    assert {element.tag for element in parse(path).iter()} <= {f"{SVG}{tag}" for tag in drawing}


@pytest.mark.parametrize("draw", DRAWS)
def test_svg_refers_to_itself_only(draw: Draw, drawn: Drawn) -> None:
    """No address stands in an SVG but the names of its two languages; every reference is to an id of its own."""
    _, path = drawn[draw]
    source = path.read_text(encoding="utf-8")
    assert source.startswith("<svg ")
    assert set(re.findall(r"\w+://[^\"]*", source)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    elements = list(parse(path).iter())
    ids = [element.attrib["id"] for element in elements if "id" in element.attrib]
    assert len(set(ids)) == len(ids) > 10
    references = [element.attrib[HREF] for element in elements if HREF in element.attrib]
    references += re.findall(r"url\((.*?)\)", source)
    assert references
    assert {reference.removeprefix("#") for reference in references} <= set(ids)


def test_svgs_of_one_page_share_no_id(drawn: Drawn) -> None:
    """Pictures that stand in one HTML page cannot take each other's clip paths and markers."""
    found = [element.attrib.get("id") for _, svg in drawn.values() for element in parse(svg).iter()]
    ids = [name for name in found if name is not None]
    assert len(set(ids)) == len(ids) > 100


def test_unprintable_characters_are_replaced(tmp_path: Path) -> None:
    """A name with characters that XML does not allow still makes a picture that can be read."""
    (path,) = draw_forest(tmp_path / "a.svg", name="in\x00sta\x1bnce")
    assert has(path, "in\N{REPLACEMENT CHARACTER}sta\N{REPLACEMENT CHARACTER}nce")


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda path: forest([], path, "t", 0.003, "finetune"), "nothing can be compared with finetune"),
        (lambda path: delta_heatmap({}, path, "t", [], [], "finetune"), "nothing can be compared with finetune"),
        (lambda path: cost_against_accuracy([], path, "t"), "no finished run with a training time"),
        (lambda path: shift_against_gain([], path, "t", "finetune"), "no shift was measured"),
        (lambda path: critical_difference_diagram({}, 1.0, [], path, "t"), "no dataset has all settings"),
    ],
)
def test_nothing_to_draw_is_said(draw: Draw, sentence: str, tmp_path: Path) -> None:
    """Without anything to show the picture says why."""
    assert has(draw(tmp_path / "a")[1], sentence)


@pytest.mark.parametrize(
    ("difference", "told"),
    [(0.0123, "+1.23"), (-0.0123, "\N{MINUS SIGN}1.23"), (0.0, "0.00"), (-0.00004, "0.00"), (0.00006, "+0.01")],
)
def test_points_have_a_sign_unless_none(difference: float, told: str) -> None:
    """Differences are printed in points, with a real minus, and what rounds to nothing has no sign."""
    assert points(difference) == told
