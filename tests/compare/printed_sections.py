"""What the tests of printed sections share: golden files, and the numbers that must not be lost."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from tracker.compare.published.sections import Best, Section
from tracker.compare.published.shown import sections_text

GOLDEN = Path(__file__).with_name("golden_published")


def check_golden(name: str, text: str) -> None:
    """Compare with a golden file, or write it where asked to."""
    path = GOLDEN / name
    if os.environ.get("WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{name} differs; is that meant? then WRITE_GOLDEN=1"


def check_width(sections: Sequence[Section], width: int) -> None:
    """No line is longer, and every number is there."""
    text = sections_text(sections, width)
    assert max(map(len, text.splitlines())) <= width
    words = re.split(r"[\s,]+", text)
    looked_at = 0
    for section in sections:
        for number in _numbers_of(section):
            assert number in words or f"{number}*" in words, number
            looked_at += 1
    assert looked_at > 10


def _numbers_of(section: Section) -> list[str]:
    """Return the numbers of a section that is no prose."""
    if section.prose:
        return []
    texts = [text.text if isinstance(text, Best) else text for line in section.lines for text in line[section.words :]]
    return [word for text in texts for word in re.split(r"[\s,]+", text) if re.search(r"\d", word)]
