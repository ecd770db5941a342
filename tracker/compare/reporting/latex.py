"""A report's tables as LaTeX: a fragment that needs the package booktabs and nothing else."""

from __future__ import annotations

import re

from tracker.compare.latex import escape as escape_plain
from tracker.compare.reporting.blocks import Cell, Column, Page, Table

ROWS_A_PAGE = 40
"""A `table` does not break; a longer one is given in parts."""
SIGNED = re.compile(r"(?<![\w.])[-+]\d[\d.]*")


def latex(page: Page) -> str:
    r"""Render every table as a `table` environment, labelled `tab:NAME`."""
    lines = [r"% \usepackage{booktabs}", f"% Study {page.study}: the tables of its report."]
    for table in page.tables:
        for part, start in enumerate(range(0, max(1, len(table.rows)), ROWS_A_PAGE)):
            lines += ["", *_table(table, start, part)]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    r"""Make text safe inside LaTeX; what stands between backticks is set in \texttt."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        parts = [text]
    return "".join(
        rf"\texttt{{{escape_plain(part)}}}" if number % 2 else escape_plain(part) for number, part in enumerate(parts)
    )


def _table(table: Table, start: int, part: int) -> list[str]:
    prose = rf"p{{{0.75 / max(1, sum(column.prose for column in table.columns)):.2f}\linewidth}}"
    columns = "".join("r" if column.number else prose if column.prose else "l" for column in table.columns)
    last = start + ROWS_A_PAGE >= len(table.rows)
    lines = [
        r"\begin{table}[htbp]",
        r"\centering\small",
        rf"\caption{{{escape(table.title)}{' (continued)' if part else ''}.}}",
        rf"\label{{tab:{table.name}{f'-{part + 1}' if part else ''}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(escape(column.title) for column in table.columns) + r" \\",
        r"\midrule",
    ]
    for number, row in enumerate(table.rows[start : start + ROWS_A_PAGE], start):
        if number in table.blocks and number > start:
            lines.append(r"\addlinespace")
        lines.append(_line(row, table.columns))
    if last and table.footer:
        lines += [r"\midrule", *(_line(row, table.columns) for row in table.footer)]
    lines += [r"\bottomrule", r"\end{tabular}"]
    if last and table.legend:
        lines.append(rf"\par\smallskip\footnotesize {escape(table.legend)}")
    return [*lines, r"\end{table}"]


def _line(row: tuple[Cell, ...], columns: tuple[Column, ...]) -> str:
    return " & ".join(_cell(cell, column) for cell, column in zip(row, columns, strict=True)) + r" \\"


def _cell(cell: Cell, column: Column) -> str:
    text = _number(cell.text) if column.number else escape(cell.text)
    if cell.mark == "best" or cell.tone in ("better", "worse", "equivalent"):
        text = rf"\textbf{{{text}}}"
    elif cell.mark == "second":
        text = rf"\underline{{{text}}}"
    aside = escape(cell.aside)
    joined = " ".join(filter(None, (text, rf"{{\footnotesize {aside}}}" if aside else "")))
    return f"{{{joined}}}" if joined.startswith("[") else joined  # `\\` takes a bracket after it for its own


def _number(text: str) -> str:
    """Set signed numbers in math mode, where the minus is one."""
    return SIGNED.sub(lambda match: f"${match[0]}$", escape(text))
