"""The comparisons in a terminal: a line for each, with its interval and its verdict."""

from __future__ import annotations

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tracker.compare.comparison import Comparison
from tracker.compare.scores import Leaderboard, Row
from tracker.compare.wording import (
    comparisons_legend,
    comparisons_of,
    comparisons_title,
    interval_text,
    p_text,
    points,
    verdict_text,
)

STYLES = {"better": "bold green", "worse": "bold red", "equivalent": "bold", "undecided": "dim"}
STYLE_BESIDE = "dim"


class DifferencesView:
    """A rich renderable of a board's comparisons; shows nothing where there are none.

    One table, or in less room a heading for each row and a line for each comparison.
    """

    def __init__(self, board: Leaderboard) -> None:
        self.board = board

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not comparisons_of(self.board):
            return
        yield Text()
        yield Text(comparisons_title(self.board), style="bold")
        yield Text()
        wide = table(self.board)
        fits = Measurement.get(console, options.update(width=10_000), wide).maximum <= options.max_width
        yield wide if fits else blocks(self.board, options.max_width)
        yield Text()
        yield Text(comparisons_legend(self.board), style=STYLE_BESIDE)


def table(board: Leaderboard) -> Table:
    """Lay the comparisons out as one table."""
    view = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    for key in (*board.label_keys, "setting"):
        view.add_column(key, no_wrap=True)
    for name in ("n", "delta", "95 % interval", "p"):
        view.add_column(name, justify="right", no_wrap=True)
    view.add_column("verdict", no_wrap=True)
    above: Row | None = None
    for row, setting, comparison in comparisons_of(board):
        label = [""] * len(row.label) if row is above else [str(value) for value in row.label.values()]
        if above is not None and row is not above:
            view.rows[-1].end_section = len(board.rows) > 1 and len(board.settings) > 2
        above = row
        view.add_row(
            *label,
            setting,
            Text(str(comparison.pairs), style=STYLE_BESIDE),
            points(comparison.mean),
            Text(interval_text(comparison.interval), style=STYLE_BESIDE),
            Text(p_text(comparison.p_adjusted), style=STYLE_BESIDE),
            _verdict(comparison),
        )
    return view


def blocks(board: Leaderboard, width: int) -> RenderableType:
    """Lay the comparisons out below each other, a heading for each row; the verdict stands below where it must."""
    compared = comparisons_of(board)
    lines = [(row, _numbers(setting, comparison, board), _verdict(comparison)) for row, setting, comparison in compared]
    fits = all(numbers.cell_len + 2 + verdict.cell_len <= width for _, numbers, verdict in lines)
    parts: list[RenderableType] = [Text(_heading(board), style=STYLE_BESIDE)]
    above: Row | None = None
    for row, numbers, verdict in lines:
        if row is not above:
            parts.append(Text(row.name, style="bold"))
        above = row
        parts.append(numbers.append("  " if fits else "\n    ").append_text(verdict))
    return Group(*parts)


def _widths(board: Leaderboard) -> tuple[int, int]:
    """Return the widths of setting and interval."""
    intervals = max(len(interval_text(each.interval)) for _, _, each in comparisons_of(board))
    return max(map(len, (*board.settings, "setting"))) + 1, max(intervals, len("95 % interval"))


def _heading(board: Leaderboard) -> str:
    width, intervals = _widths(board)
    return f"  {'setting':<{width}} n  {'delta':>6}  {'95 % interval':>{intervals}}  {'p':>6}"


def _numbers(setting: str, comparison: Comparison, board: Leaderboard) -> Text:
    width, intervals = _widths(board)
    line = Text(f"  {setting:<{width}}").append(f"{comparison.pairs:>2}", style=STYLE_BESIDE)
    line.append(f"  {points(comparison.mean):>6}  ")
    beside = f"{interval_text(comparison.interval):>{intervals}}  {p_text(comparison.p_adjusted):>6}"
    return line.append(beside, style=STYLE_BESIDE)


def _verdict(comparison: Comparison) -> Text:
    return Text(verdict_text(comparison), style="yellow" if comparison.blocked else STYLES[comparison.verdict])
