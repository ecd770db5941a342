"""The leaderboard in a terminal: the widest layout that fits, readable without colour."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from itertools import pairwise

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tracker.compare.answer import answer, limits
from tracker.compare.differences import DifferencesView
from tracker.compare.scores import Leaderboard, Row, Score
from tracker.compare.wording import delta_text, footer, gaps_text, legend, percent, spread, subtitle, title

BEST, SECOND = "*", "'"
"""Marks beside the numbers: bold and underline are lost in a file, a pipe and a copied text."""

STYLE_BEST, STYLE_SECOND, STYLE_BESIDE, STYLE_GAP = "bold", "underline", "dim", "yellow"
UNBOUNDED = 10_000


class LeaderboardView:
    """A rich renderable: `console.print(LeaderboardView(board))`.

    Settings stand side by side, with spread and delta on the value's line or, in less room, on the
    line below it; where that is too wide as well, they stand below each other.
    """

    def __init__(self, board: Leaderboard) -> None:
        self.board = board

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        board = self.board
        yield Text(title(board), style="bold")
        yield Text(subtitle(board))
        yield Text()
        for sentence in answer(board):
            yield Text(sentence)
        yield Text()
        yield fitting_layout(board, console, options)
        yield Text()
        yield Text(f"{BEST} best, {SECOND} second of the row. {legend(board)}", style=STYLE_BESIDE)
        yield DifferencesView(board)
        yield Text()
        for note in (*limits(board), *board.notes):
            line = Table.grid(padding=(0, 1))
            line.add_row("-", Text(note))
            yield line


def terminal_text(board: Leaderboard, width: int = 120) -> str:
    """Render the terminal's table as plain text, `width` columns wide at most."""
    file = StringIO()
    Console(file=file, width=width, color_system=None, force_terminal=False).print(LeaderboardView(board))
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def fitting_layout(board: Leaderboard, console: Console, options: ConsoleOptions) -> RenderableType:
    """Return the first layout that fits: one line a row, two lines a row, one line a setting."""
    unbounded = options.update(width=UNBOUNDED)
    for joint in (" ", "\n"):
        table = side_by_side(board, joint)
        if Measurement.get(console, unbounded, table).maximum <= options.max_width:
            return table
    return blocks(board)


def side_by_side(board: Leaderboard, joint: str) -> Table:
    """Lay settings side by side, each `97.43* ±0.12 +0.31`.

    Args:
        board: what to show.
        joint: a space, or a line break to put spread and delta below the value.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for key in board.label_keys:
        table.add_column(key, no_wrap=True)
    widths = {}
    for setting in board.settings:
        table.add_column(f"{setting}\n(baseline)" if setting == board.baseline else setting, no_wrap=True)
        scores = [row.scores[setting] for row in board.rows]
        widths[setting] = (max(len(spread(score)) for score in scores), max(len(delta_text(s)) for s in scores))
    for row, above in zip(board.rows, (None, *board.rows), strict=False):
        cells = [_cell(score, joint, *widths[setting]) for setting, score in row.scores.items()]
        table.add_row(*_label_texts(row, above), *cells)
    for number in _ends_of_blocks(board):
        table.rows[number].end_section = True
    for label, texts in footer(board):
        blank = [""] * (len(board.label_keys) - 1)
        table.add_row(label, *blank, *(f"{texts[setting]:>5}" for setting in board.settings))
    return table


def blocks(board: Leaderboard) -> Group:
    """Lay settings below each other, a block for each row; what is open stands below its setting."""
    mean_width = max([7, *(len(text) for _, texts in footer(board) for text in texts.values())])
    widths = (max(map(len, board.settings)) + 2, mean_width, 6, 6, 4)
    parts: list[RenderableType] = [_fixed_line(widths, "", "mean ", "SD", "delta", "rank")]
    for row in board.rows:
        parts.append(Text(row.name, style="bold"))
        for setting, score in row.scores.items():
            rank = "" if score.rank is None else f"{score.rank:g}"
            parts.append(_fixed_line(widths, f"  {setting}", _value(score), spread(score), delta_text(score), rank))
            if gaps := gaps_text(score):
                parts.append(Text(f"    {gaps}", style=STYLE_GAP))
        parts.append(Text())
    for label, texts in footer(board):
        parts.append(Text(label, style="bold"))
        parts += [_fixed_line(widths, f"  {setting}", text) for setting, text in texts.items() if text]
    return Group(*parts)


def _fixed_line(widths: Sequence[int], name: str, *cells: str | Text) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for number, width in enumerate(widths):
        table.add_column(width=width, justify="right" if number else "left", no_wrap=True)
    table.add_row(name, *cells)
    return table


def _label_texts(row: Row, above: Row | None) -> list[str]:
    """Print a label without its leading words that repeat the row above; the last word always stands."""
    keys = list(row.label)
    same = 0
    while above is not None and same < len(keys) - 1 and row.label[keys[same]] == above.label[keys[same]]:
        same += 1
    return [""] * same + [str(row.label[key]) for key in keys[same:]]


def _ends_of_blocks(board: Leaderboard) -> list[int]:
    """Return the rows after which a line is left free: before another model, and before the footer."""
    first = board.label_keys[0]
    firsts = [row.label[first] for row in board.rows]
    changes = [number for number, (one, other) in enumerate(pairwise(firsts)) if one != other]
    repeats = len(set(firsts)) < len(firsts)
    return [*(changes if repeats else []), len(firsts) - 1]


def _cell(score: Score, joint: str, spread_width: int, delta_width: int) -> Text:
    text = Text()
    if score.n:
        fields = [f"{spread(score):<{spread_width}}"] * (spread_width > 0)
        fields += [f"{delta_text(score):>{delta_width}}"] * (delta_width > 0)
        text.append_text(_value(score)).append(joint).append(" ".join(fields), style=STYLE_BESIDE)
    if gaps := gaps_text(score):
        text.append("\n" if score.n else "").append(gaps.replace(", ", "\n"), style=STYLE_GAP)
    return text


def _value(score: Score) -> Text:
    """Print a mean with a place for its mark, so that the digits of a column stand in line."""
    if score.mean is None:
        return Text()
    mark, style = (BEST, STYLE_BEST) if score.is_best else (SECOND, STYLE_SECOND) if score.is_second else (" ", "")
    return Text().append(f"{percent(score.mean):>5}", style=style).append(mark)
