"""A report as Markdown, its pictures linked from the folder `figures`."""

from __future__ import annotations

from collections.abc import Iterable

from tracker.compare.reporting.blocks import Block, Cell, Code, Details, Items, Page, Picture, Sentences, Table
from tracker.compare.reporting.figures import FOLDER


def markdown(page: Page) -> str:
    """Render the page."""
    lines = [
        f"# {escape(' '.join(page.question.split()))}",
        "",
        f"Study {escape(page.study)}; {escape('; '.join(page.facts))}.",
        "",
        f"**{escape(page.answer[0])}**",
        "",
        *([*(f"- {escape(sentence)}" for sentence in page.answer[1:]), ""] if page.answer[1:] else []),
    ]
    for section in page.sections:
        lines += [f"## {escape(section.title)}", "", *_shown(section.blocks)]
    return "\n".join(lines).rstrip("\n") + "\n"


def escape(text: str) -> str:
    """Make text safe: no HTML, no links, no emphasis of its own; what stands between backticks stays."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a backtick without its like
        parts = [text.replace("`", "'")]
    for number in range(0, len(parts), 2):
        part = parts[number].replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
        parts[number] = part.replace("*", "\\*").replace("](", "]\\(")
    return "`".join(parts)


def _shown(blocks: Iterable[Block]) -> list[str]:
    lines: list[str] = []
    for block in blocks:
        match block:
            case Table():
                lines += _table(block)
            case Picture():
                lines += [f"![{escape(block.alternative)}]({FOLDER}/{block.name}.png)", "", escape(block.caption)]
            case Sentences():
                lines.append(escape(block.text))
            case Items():
                lines += [f"- {escape(text)}" for text in block.texts]
            case Code():
                fence = "```" if "```" not in block.text else "~~~~"
                lines += [f"{fence}{block.language}", block.text.rstrip("\n"), fence]
            case Details():
                lines += ["<details>", f"<summary>{_plain(block.summary)}</summary>", "", *_shown(block.blocks)]
                lines.append("</details>")
        lines.append("")
    return lines


def _plain(text: str) -> str:
    return text.replace("`", "").replace("&", "&amp;").replace("<", "&lt;")


def _table(table: Table) -> list[str]:
    lines = [
        f"**{escape(table.title)}**",
        "",
        _line(escape(column.title) for column in table.columns),
        _line("--:" if column.number else ":--" for column in table.columns),
        *(_line(map(_cell, row)) for row in (*table.rows, *table.footer)),
    ]
    return [*lines, "", escape(table.legend)] if table.legend else lines


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    if cell.mark == "best" or cell.tone in ("better", "worse", "equivalent"):
        text = f"**{text}**"
    elif cell.mark == "second":
        text = f"<u>{text}</u>"
    aside = escape(cell.aside)
    return " ".join(filter(None, (text, f"*{aside}*" if aside and not text else aside)))


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
