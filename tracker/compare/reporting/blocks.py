"""What a report is made of, whatever the format: sections of sentences, tables and figures.

Texts are plain; between backticks stands what would be typed. Each format escapes them in its own way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mark = Literal["", "best", "second"]
Tone = Literal["", "better", "worse", "equivalent", "open", "gap"]
"""What a cell says beside its text: a verdict, or that something is missing."""


@dataclass(frozen=True)
class Cell:
    """One field of a table.

    Args:
        text: the number or word.
        aside: what belongs to it and is less: `±0.12`, `n=2, 1 failed`.
        mark: best is bold, second underlined.
    """

    text: str = ""
    aside: str = ""
    mark: Mark = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Column:
    """A table's column.

    Args:
        number: its cells stand at the right, in figures of one width.
        prose: its cells are sentences, in lines as wide as there is room.
    """

    title: str
    number: bool = False
    prose: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        name: letters and dashes; its anchor and label.
        title: stands above it.
        rows: as wide as `columns`.
        footer: rows below a rule, that sum up.
        blocks: numbers of rows that a little space precedes.
        legend: stands below it.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    footer: tuple[tuple[Cell, ...], ...] = ()
    blocks: tuple[int, ...] = ()
    legend: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure.

    Args:
        name: of its files, `figures/NAME.svg` and `figures/NAME.png`.
        caption: stands below it.
        alternative: says what it shows to who cannot see it.
    """

    name: str
    caption: str
    alternative: str


@dataclass(frozen=True)
class Sentences:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """Text that is typed or read by a program, as it is."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Details:
    """What is folded away until asked for, where a format can."""

    summary: str
    blocks: tuple[Block, ...]


Block = Table | Picture | Sentences | Items | Code | Details


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it."""

    name: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A whole report.

    Args:
        study: its name.
        question: what it asks; the page's heading.
        facts: what it is, in a few words each, below the heading.
        answer: sentences, the first sums up.
        sections: the rest.
    """

    study: str
    question: str
    facts: tuple[str, ...]
    answer: tuple[str, ...]
    sections: tuple[Section, ...]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Every figure, in order."""
        return tuple(block for block in _flat(self.sections) if isinstance(block, Picture))

    @property
    def tables(self) -> tuple[Table, ...]:
        """Every table, in order, those that are folded away too."""
        return tuple(block for block in _flat(self.sections) if isinstance(block, Table))


def _flat(sections: tuple[Section, ...]) -> list[Block]:
    found: list[Block] = []
    waiting = [block for section in reversed(sections) for block in reversed(section.blocks)]
    while waiting:
        block = waiting.pop()
        found.append(block)
        if isinstance(block, Details):
            waiting += reversed(block.blocks)
    return found


def without_repeats(labels: list[list[str]]) -> list[list[str]]:
    """Leave out the leading words of each label that repeat the one above; the last word always stands."""
    shown = []
    above: list[str] | None = None
    for label in labels:
        same = 0
        while above is not None and same < len(label) - 1 and label[same] == above[same]:
            same += 1
        shown.append([""] * same + label[same:])
        above = label
    return shown
