"""The leaderboard as Markdown: best bold, second underlined, settings side by side."""

from __future__ import annotations

from collections.abc import Sequence

from tracker.compare.answer import answer, limits
from tracker.compare.comparison import Comparison
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


def markdown(board: Leaderboard) -> str:
    """Render a heading, the table, and the notes as a list."""
    labels = board.label_keys
    header = [*labels, *(f"{name} (baseline)" if name == board.baseline else name for name in board.settings)]
    blank = [""] * (len(labels) - 1)
    lines = [
        f"### {title(board)}",
        "",
        f"{subtitle(board)[0].upper()}{subtitle(board)[1:]}.",
        "",
        *answer(board)[:1],
        "",
        *(f"- {sentence}" for sentence in answer(board)[1:]),
        *([""] if len(answer(board)) > 1 else []),
        _line(header),
        _line([":--"] * len(labels) + ["--:"] * len(board.settings)),
        *(_line([*map(str, row.label.values()), *map(_cell, row.scores.values())]) for row in board.rows),
        *(_line([label, *blank, *(texts[setting] for setting in board.settings)]) for label, texts in footer(board)),
        "",
        f"**Best** and <u>second</u> of the row. {legend(board)}",
    ]
    lines += _comparisons(board)
    if notes := [*limits(board), *board.notes]:
        lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def _comparisons(board: Leaderboard) -> list[str]:
    compared = comparisons_of(board)
    if not compared:
        return []
    labels = board.label_keys
    return [
        "",
        f"**{comparisons_title(board)}**",
        "",
        _line([*labels, "setting", "n", "delta", "95 % interval", "p", "verdict"]),
        _line([":--"] * (len(labels) + 1) + ["--:"] * 4 + [":--"]),
        *(
            _line(
                [
                    *map(str, row.label.values()),
                    setting,
                    str(comparison.pairs),
                    points(comparison.mean),
                    interval_text(comparison.interval),
                    p_text(comparison.p_adjusted),
                    _verdict(comparison),
                ]
            )
            for row, setting, comparison in compared
        ),
        "",
        comparisons_legend(board),
    ]


def _verdict(comparison: Comparison) -> str:
    text = verdict_text(comparison)
    return text if comparison.verdict == "undecided" else f"**{text}**"


def _cell(score: Score) -> str:
    parts = []
    if score.mean is not None:
        value = percent(score.mean)
        parts.append(f"**{value}**" if score.is_best else f"<u>{value}</u>" if score.is_second else value)
    parts.append(spread(score))
    if delta := delta_text(score):
        parts.append(f"({delta})")
    if gaps := gaps_text(score):
        parts.append(f"*{gaps}*")
    return " ".join(filter(None, parts))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
