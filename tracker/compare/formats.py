"""A leaderboard in every format it can be asked for."""

from __future__ import annotations

from collections.abc import Callable

from tracker.compare.data import csv_text, json_text
from tracker.compare.latex import latex
from tracker.compare.markdown import markdown
from tracker.compare.scores import Leaderboard
from tracker.compare.terminal import terminal_text

RENDERERS: dict[str, Callable[[Leaderboard], str]] = {
    "table": terminal_text,
    "markdown": markdown,
    "csv": lambda board: csv_text([board]),
    "json": json_text,
    "latex": latex,
}
FORMATS = tuple(RENDERERS)


def render(board: Leaderboard, form: str) -> str:
    """Render a leaderboard as text that ends with a newline; `table` is plain, 120 columns wide at most.

    Args:
        board: what to show.
        form: one of `FORMATS`.
    """
    return RENDERERS[form](board)
