"""The leaderboard as a LaTeX table: needs the package booktabs and nothing else."""

from __future__ import annotations

import re

from tracker.compare.scores import Leaderboard, Score
from tracker.compare.wording import delta_text, footer, gaps_text, legend, percent, spread, subtitle, title

ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"$<$",
    ">": r"$>$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def latex(board: Leaderboard) -> str:
    r"""Render a `table` environment: caption, booktabs rules, \textbf and \underline, notes below."""
    labels = board.label_keys
    header = [*labels, *(f"{name} (baseline)" if name == board.baseline else name for name in board.settings)]
    blank = [""] * (len(labels) - 1)
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(f'{title(board)}; {subtitle(board)}')}.}}",
        rf"\begin{{tabular}}{{{'l' * len(labels)}{'r' * len(board.settings)}}}",
        r"\toprule",
        " & ".join(map(escape, header)) + r" \\",
        r"\midrule",
    ]
    for row in board.rows:
        cells = [*(escape(str(value)) for value in row.label.values()), *map(_cell, row.scores.values())]
        lines.append(" & ".join(cells) + r" \\")
    lines.append(r"\midrule")
    for label, texts in footer(board):
        lines.append(" & ".join([label, *blank, *(_number(texts[setting]) for setting in board.settings)]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines.append(r"\par\smallskip\footnotesize")
    lines.append(rf"\textbf{{Best}} and \underline{{second}} of the row. {escape(legend(board))}")
    lines += [escape(note) for note in board.notes]
    lines.append(r"\end{table}")
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Make text safe inside LaTeX."""
    return re.sub("[" + re.escape("".join(ESCAPES)) + "]", lambda match: ESCAPES[match[0]], text)


def _cell(score: Score) -> str:
    parts = []
    if score.mean is not None:
        value = percent(score.mean)
        parts.append(
            rf"\textbf{{{value}}}" if score.is_best else rf"\underline{{{value}}}" if score.is_second else value
        )
    parts.append(spread(score).replace("±", r"$\pm$"))
    if delta := delta_text(score):
        parts.append(f"({_number(delta)})")
    if gaps := gaps_text(score):
        parts.append(rf"\emph{{{escape(gaps)}}}")
    return " ".join(filter(None, parts))


def _number(text: str) -> str:
    """Set a signed number in math mode, where the minus is one; a count in brackets stays outside."""
    number, space, rest = text.partition(" ")
    return f"${number}${space}{rest}" if number else ""
