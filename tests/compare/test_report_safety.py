"""A report can do no harm: text stays text, nothing is fetched, nothing runs, and its links lead somewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.compare.small_report import SVG
from tracker.compare.reporting import blocks
from tracker.compare.reporting.html import html
from tracker.compare.reporting.markdown import markdown

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><style>*{color:red}",
    "{{ 7 * 7 }}{% raw %}",
    "`</code><script>`",
    "[a link](javascript:alert(1))",
    "& % $ # _ { } ~ ^ \\input{x} | `",
)


class Reader(HTMLParser):
    """Collects what a page consists of, and sees that elements are closed as they were opened."""

    VOID = frozenset({"meta", "link", "img", "source"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def hostile_page(text: str) -> blocks.Page:
    """Return a page of every kind of block, with the same text wherever text can come from a user or a run."""
    table = blocks.Table(
        name="t",
        title=text,
        columns=(blocks.Column(text), blocks.Column(text, number=True), blocks.Column(text, prose=True)),
        rows=((blocks.Cell(text, text, "best"), blocks.Cell(text, tone="gap"), blocks.Cell(text)),),
        footer=((blocks.Cell(text), blocks.Cell(text, text, "second"), blocks.Cell(text)),),
        legend=text,
    )
    shown: tuple[blocks.Block, ...] = (
        table,
        blocks.Picture("p", text, text),
        blocks.Sentences(text),
        blocks.Items((text,)),
        blocks.Code(text),
    )
    section = blocks.Section("s", text, (*shown, blocks.Details(text, (replace(table, name="u"),))))
    return blocks.Page(text, text, (text,), (text, text), (section,))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str) -> None:
    """Whatever a name holds, the page has the same elements and attributes as with a plain one, and shows the text."""
    harmless = Reader(html(hostile_page("plain"), {"p": SVG}))
    reader = Reader(html(hostile_page(text), {"p": SVG}))
    with_code = [tag for tag, _ in reader.tags if tag != "code"]
    assert with_code == [tag for tag, _ in harmless.tags if tag != "code"]
    assert [set(attributes) for tag, attributes in reader.tags if tag != "code"] == [
        set(attributes) for tag, attributes in harmless.tags if tag != "code"
    ]
    assert "".join(reader.texts).count(text.replace("`", "")) + "".join(reader.texts).count(text) > 10


def test_nothing_is_fetched_and_nothing_runs(page: blocks.Page, written: tuple[Path, list[Path]]) -> None:
    """The page names no address outside itself, in its pictures neither; it has no script and no inline style."""
    text = (written[0] / "report.html").read_text(encoding="utf-8")
    reader = Reader(text)
    looked_at = 0
    for tag, attributes in reader.tags:
        assert tag not in ("script", "iframe", "object", "embed", "form", "base", "svg")
        for name, value in attributes.items():
            assert not name.startswith("on") and name != "style"
            if name in ("src", "srcset", "href") and value is not None:
                looked_at += 1
                assert value.startswith(("#", "data:image/svg+xml;base64,")) or value == "data:,"
    pictures = [base64.b64decode(found).decode() for found in re.findall(r"base64,([^\"]+)", text)]
    assert len(pictures) == 2 * len(page.pictures) == 2 * 5
    for picture in pictures:
        assert set(re.findall(r"https?://[^\"' ]+", picture)) <= {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xlink",
        }
        assert "<script" not in picture and "<image" not in picture
    assert "http" not in re.sub(r"base64,[^\"]+|http-equiv", "", text)
    assert looked_at >= len(pictures) + len(page.sections)


def test_the_policy_allows_this_style_sheet_only(page: blocks.Page) -> None:
    """The page tells the browser to take its own style sheet, by hash, and pictures that it carries."""
    text = html(page, {picture.name: SVG for picture in page.pictures})
    (style,) = re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policies = [each["content"] for tag, each in Reader(text).tags if each.get("http-equiv")]
    assert policies == [
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    ]


def test_links_within_the_page_lead_somewhere(page: blocks.Page) -> None:
    """Every link of the page has its place, and no name is given twice."""
    tags = Reader(html(page, {picture.name: SVG for picture in page.pictures})).tags
    names = [attributes["id"] for _, attributes in tags if "id" in attributes]
    links = [str(attributes["href"])[1:] for tag, attributes in tags if tag == "a"]
    assert len(links) == len(page.sections) >= 8
    assert set(links) <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_markdown(text: str) -> None:
    """In Markdown no name becomes an element or a link, and no table falls apart."""
    lines = markdown(hostile_page(text)).splitlines()
    prose = re.sub(r"`[^`]*`", "", "\n".join(lines[: lines.index("```")]))
    assert set(re.findall(r"<(/?\w+)", prose)) <= {"u", "/u"}
    assert "](javascript" not in prose
    for line in lines:
        if line.startswith("| "):
            assert len(re.findall(r"(?<!\\)\|", line)) == 4
