"""A report is what its golden files say, in every format.

`WRITE_GOLDEN=1 pytest tests/compare/test_report_golden.py` writes the golden files anew: read the
difference before it is committed.
"""

from __future__ import annotations

import csv
import json
import os
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tests.compare.small_report import SVG
from tracker.compare.reporting import blocks
from tracker.compare.reporting.content import Content
from tracker.compare.reporting.data import COLUMNS, comparisons_csv, json_text
from tracker.compare.reporting.figures import drawings_of
from tracker.compare.reporting.html import html
from tracker.compare.reporting.latex import latex
from tracker.compare.reporting.markdown import markdown

GOLDEN = Path(__file__).with_name("golden_report")
FILES = ("report.html", "report.md", "tables.tex", "comparisons.csv", "report.json")


def check_golden(name: str, text: str) -> str:
    """Compare with a golden file, or write it where asked to; return it."""
    path = GOLDEN / name
    if os.environ.get("WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return path.read_text(encoding="utf-8")


def pruned(text: str) -> str:
    """Take out of HTML what is not this test's: style sheet, its hash, pictures, version."""
    text = re.sub(r"<style>.*?</style>", "<style>STYLE</style>", text, flags=re.DOTALL)
    text = re.sub(r"sha256-[^&']*", "sha256-HASH", text)
    text = re.sub(r"base64,[A-Za-z0-9+/=]*", "base64,PICTURE", text)
    return re.sub(r"norm-tracker \d[\w.]*", "norm-tracker VERSION", text)


def test_golden_html(page: blocks.Page) -> None:
    """The page is as its golden file has it."""
    text = pruned(html(page, {picture.name: SVG for picture in page.pictures}))
    assert text == check_golden("report.html", text)


def test_golden_markdown(page: blocks.Page) -> None:
    """The Markdown is as its golden file has it."""
    text = markdown(page)
    assert text == check_golden("report.md", text)


def test_golden_latex(page: blocks.Page) -> None:
    """The tables are as their golden file has them."""
    text = latex(page)
    assert text == check_golden("tables.tex", text)


def test_golden_csv(content: Content) -> None:
    """The comparisons are as their golden file has them, numbers to nine digits: the last depend on the machine."""
    text = comparisons_csv(content.board)
    ours, golden = (list(csv.DictReader(StringIO(each))) for each in (text, check_golden("comparisons.csv", text)))
    assert len(ours) == len(golden) == 4
    for one, other in zip(ours, golden, strict=True):
        assert [*one][-len(COLUMNS) :] == list(COLUMNS)
        same({key: plain(value) for key, value in one.items()}, {key: plain(value) for key, value in other.items()})


def test_golden_json(content: Content) -> None:
    """The JSON is strict, and is as its golden file has it, numbers to nine digits."""
    text = re.sub(r'"version": "[\d.]+"', '"version": "VERSION"', json_text(content, tuple(drawings_of(content))))
    golden = json.loads(check_golden("report.json", text))
    same(json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON")), golden)


def plain(text: str) -> float | list[str] | str:
    """Read a field of a CSV: a number where it is one; what holds several is split."""
    try:
        return float(text)
    except ValueError:
        return re.split(r"[ =/]", text)


def same(one: Any, other: Any) -> None:
    """Compare documents, numbers to nine digits."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for mine, its in zip(one, other, strict=True):
            same(mine, its)
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-15)
    else:
        assert one == other


def test_golden_files_are_all_looked_at() -> None:
    """No golden file is left over."""
    assert {path.name for path in GOLDEN.iterdir()} == set(FILES)
