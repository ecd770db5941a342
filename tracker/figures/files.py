"""How pictures become files: PNG for terminals and trackers, SVG for pages.

Text is never read as a formula: a class may be called `$5`. In an SVG it stays text, that can be
searched and copied.
"""

from __future__ import annotations

import hashlib
import io
import re
import threading
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure
from matplotlib.text import Text

from tracker.study.home import replacing

DPI = 120
FORMATS = ("png", "svg")

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", XLINK)

UNPRINTABLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML does not allow or that no font has; the line feed stays."""

FONTS = re.compile(r"(?<='DejaVu Sans', ).*?(?=sans-serif)")
"""What matplotlib names in every text between the font that it measured with and the last resort."""

_SETTINGS_LOCK = threading.Lock()
"""matplotlib reads its SVG settings from the process; they are ours only while one thread holds this."""


def write_figure(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as PNG and as SVG; equal content gives equal bytes on one machine.

    Both have a white ground of their own, readable on a dark page too. The SVG refers to nothing
    outside itself, and its ids are its own, so several may stand in one HTML page.

    Args:
        path: with the suffix `.png` or `.svg` only that file is written; to any other name both are added.

    Returns:
        What was written, the PNG first.

    Writes: those files, with their folder.
    """
    one = path.suffix.removeprefix(".")
    targets = {one: path} if one in FORMATS else {form: path.with_name(f"{path.name}.{form}") for form in FORMATS}
    for form, target in targets.items():
        if form == "png":
            write_png(figure, target)
        else:
            with replacing(target) as temporary:
                temporary.write_bytes(_svg(figure))
    return list(targets.values())


def write_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; equal content gives equal bytes on one machine: no date, no version.

    Writes: `path`, with its folder.
    """
    make_plain(figure)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})


def make_plain(figure: Figure) -> None:
    """Have every text of a figure printed as it is; needed before measuring, done before writing."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)
        if UNPRINTABLE.search(text.get_text()):
            text.set_text(UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text.get_text()))


def _svg(figure: Figure) -> bytes:
    make_plain(figure)
    buffer = io.BytesIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with _SETTINGS_LOCK, matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "tracker"}):
        figure.savefig(buffer, format="svg", facecolor="white", metadata=nothing)
    # Parsing leaves out the document type, which names a URL. The XML is matplotlib's own.
    root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314
    root.set("role", "img")
    root.set("aria-label", " ".join(figure.get_suptitle().split()))
    mark = f"f{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}-"
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == "id":
                element.set(name, mark + value)
            elif name == f"{{{XLINK}}}href" and value.startswith("#"):
                element.set(name, f"#{mark}{value[1:]}")
            elif "url(#" in value:
                element.set(name, value.replace("url(#", f"url(#{mark}"))
            elif name == "style" and element.tag == f"{{{SVG}}}text":
                element.set(name, FONTS.sub("Verdana, ", value))
    written: bytes = ElementTree.tostring(root, encoding="utf-8")
    return written
