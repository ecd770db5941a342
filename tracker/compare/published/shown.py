"""Sections in a terminal, as plain text, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tracker.compare.published.sections import Best, Section
from tracker.compare.published.sections import Text as Words
from tracker.compare.terminal import BEST, STYLE_BESIDE, STYLE_BEST

UNBOUNDED = 10_000


class SectionsView:
    """A rich renderable: each section as a table, or in less room as a block for each of its lines."""

    def __init__(self, sections: Sequence[Section]) -> None:
        self.sections = sections

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for number, section in enumerate(self.sections):
            if number:
                yield Text()
            yield Text(section.title, style="bold")
            yield Text()
            yield _fitting(section, console, options)
            yield Text()
            for sentence in section.sentences:
                yield Text(sentence, style=STYLE_BESIDE)


def sections_text(sections: Sequence[Section], width: int = 120) -> str:
    """Render sections as plain text, `width` columns wide at most."""
    file = StringIO()
    Console(file=file, width=width, color_system=None, force_terminal=False).print(SectionsView(sections))
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def sections_markdown(sections: Sequence[Section]) -> str:
    """Render sections as Markdown: a heading, a table and its sentences each."""
    parts = []
    for section in sections:
        numbers = len(section.header) - section.words
        lines = [
            f"### {section.title}",
            "",
            _line(section.header),
            _line([":--"] * section.words + ["--:"] * numbers),
            *(_line([_marked(text) for text in line]) for line in section.lines),
        ]
        for sentence in section.sentences:
            lines += ["", sentence]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _fitting(section: Section, console: Console, options: ConsoleOptions) -> RenderableType:
    """Return the first layout that fits: a table, one with its columns closer, blocks."""
    if not section.prose:
        for gap in (1, 0):
            table = _table(section, gap)
            if Measurement.get(console, options.update(width=UNBOUNDED), table).maximum <= options.max_width:
                return table
    return _blocks(section)


def _table(section: Section, gap: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), pad_edge=False, show_edge=False)
    for number, name in enumerate(section.header):
        table.add_column(name, justify="left" if number < section.words else "right", no_wrap=True)
    marked = [any(isinstance(line[n], Best) for line in section.lines) for n in range(len(section.header))]
    for line in section.lines:
        table.add_row(*(_text(text, mark) for text, mark in zip(line, marked, strict=True)))
    return table


def _blocks(section: Section) -> RenderableType:
    """Lay lines out below each other: what they are about, then their numbers with the names of the columns."""
    parts: list[RenderableType] = []
    for line in section.lines:
        if section.prose:
            first, *rest = (_text(text, False) for text in line)
            parts += [Text(first.plain, style="bold"), *(_indented(text) for text in rest), Text()]
            continue
        words, numbers = line[: section.words], line[section.words :]
        parts.append(Text(" ".join(_text(text, False).plain for text in words), style="bold"))
        named = zip(section.header[section.words :], numbers, strict=True)
        told = [f"{name} {_text(text, False).plain.strip()}" for name, text in named if _text(text, False).plain]
        parts.append(_indented(Text(", ".join(told))))
    return Group(*parts[:-1] if section.prose else parts)


def _indented(text: Text) -> Table:
    grid = Table.grid(padding=(0, 0, 0, 0))
    grid.add_row("  ", text)
    return grid


def _text(text: Words, place: bool) -> Text:
    """Print a text, with a place for its mark where one of its column has one."""
    if isinstance(text, Best):
        return Text().append(text.text, style=STYLE_BEST).append(BEST)
    return Text(f"{text} " if place else text)


def _marked(text: Words) -> str:
    return f"**{text.text}**" if isinstance(text, Best) else text


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
