"""A report as one HTML file: nothing is fetched from outside, nothing in it runs."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tracker import __version__
from tracker.compare.reporting.blocks import Code, Details, Items, Page, Picture, Sentences, Table
from tracker.compare.reporting.dark import dark

CODE = re.compile("`([^`]+)`")
CODED = Markup("<code>{}</code>")
MINUS = re.compile(r"(?<![\w.])-(?=\d)")
POLICY = "default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
"""What a browser is told to let the page do: show its own style sheet and pictures that it carries itself."""


def html(page: Page, drawn: Mapping[str, bytes]) -> str:
    """Render the page.

    Args:
        drawn: its pictures as SVG, by name.
    """
    style = resources.files(__package__).joinpath("templates/page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        loader=PackageLoader("tracker.compare.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"inline": inline, "figures": figures}
    environment.tests |= {
        name: lambda block, kind=kind: isinstance(block, kind)
        for name, kind in {
            "table": Table, "picture": Picture, "sentences": Sentences,
            "items": Items, "code": Code, "details": Details,
        }.items()
    }  # fmt: skip
    return environment.get_template("page.html").render(
        page=page,
        style=style,
        policy=POLICY.format(digest=digest),
        version=__version__,
        wide=wide,
        images={name: (_address(svg), _address(dark(svg))) for name, svg in drawn.items()},
    )


def _address(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def inline(text: str) -> Markup:
    """Escape text, and set what stands between backticks as code."""
    parts = CODE.split(text)  # every second one was between backticks
    return Markup("").join(CODED.format(part) if number % 2 else figures(part) for number, part in enumerate(parts))


def figures(text: str) -> str:
    """Give numbers a minus that is as wide as their plus."""
    return MINUS.sub("\N{MINUS SIGN}", text)


def wide(table: Table) -> list[bool]:
    """Say for each column whether its cells have asides, which then stand in a column of their own."""
    rows = (*table.rows, *table.footer)
    return [any(row[number].aside for row in rows) for number in range(len(table.columns))]
