"""The leaderboard as a LaTeX table: needs the package booktabs and nothing else."""

from __future__ import annotations

import re

from tracker.compare.answer import limits
from tracker.compare.scores import Leaderboard, Score
from tracker.compare.wording import (
    comparisons_legend,
    comparisons_of,
    comparisons_title,
    delta_text,
    footer,
    gaps_text,
    interval_text,
    legend,
    p_text,
    percent,
    points,
    spread,
    subtitle,
    title,
    verdict_text,
)

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
    lines += [escape(note) for note in (*limits(board), *board.notes)]
    lines.append(r"\end{table}")
    return "\n".join([*lines, *_comparisons(board)]) + "\n"


def _comparisons(board: Leaderboard) -> list[str]:
    """Render the comparisons as a table of their own."""
    compared = comparisons_of(board)
    if not compared:
        return []
    labels = board.label_keys
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(f'{title(board)}. {comparisons_title(board)}')}.}}",
        rf"\begin{{tabular}}{{{'l' * (len(labels) + 1)}rrrrl}}",
        r"\toprule",
        " & ".join(map(escape, [*labels, "setting", "n", "delta", "95 % interval", "p", "verdict"])) + r" \\",
        r"\midrule",
    ]
    above = compared[0][0]
    for row, setting, comparison in compared:
        if row is not above:
            lines.append(r"\addlinespace")
        above = row
        cells = [*(escape(str(value)) for value in row.label.values()), escape(setting)]
        cells += [
            str(comparison.pairs),
            _number(points(comparison.mean)),
            _number(interval_text(comparison.interval).replace(" ", "")),
            escape(p_text(comparison.p_adjusted)),
            escape(verdict_text(comparison)),
        ]
        lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\par\smallskip\footnotesize", escape(comparisons_legend(board))]
    return [*lines, r"\end{table}"]


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
