"""A report's figures: which there are, and how each is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tracker.compare.reporting.blocks import Picture
from tracker.compare.reporting.content import Content
from tracker.compare.scores import Leaderboard, Row
from tracker.compare.wording import comparisons_of, verdict_text
from tracker.figures.forest import Line, forest
from tracker.figures.heatmap import Cell, delta_heatmap
from tracker.figures.ranks import critical_difference_diagram
from tracker.figures.shift import ShiftPanel, ShiftPoint, shift_against_gain
from tracker.figures.tradeoff import Point, cost_against_accuracy
from tracker.significance.pooled import PooledEffect
from tracker.significance.verdicts import Verdict
from tracker.study.wording import counted

FOLDER = "figures"
NAMES = ("forest", "heatmap", "ranks", "shift", "history", "cost")
"""Every figure that a report can have."""


@dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn.

    Args:
        draw: given a path without suffix, writes PNG and SVG.
    """

    picture: Picture
    draw: Callable[[Path], object]


def drawings_of(content: Content) -> dict[str, Drawing]:
    """Return the figures of a study by name: those for which there are numbers."""
    board = content.board
    found: dict[str, Drawing] = {}

    def add(name: str, caption: str, alternative: str, draw: Callable[[Path], object]) -> None:
        found[name] = Drawing(Picture(name, caption, alternative), draw)

    compared = comparisons_of(board)
    if compared:
        add(
            "forest",
            f"Differences to {board.baseline} with their 95 % intervals.",
            f"Forest plot of {counted(len(compared), 'difference')}; the table above has the numbers.",
            lambda path: _forest(board, path),
        )
        if len(board.rows) > 1:
            add(
                "heatmap",
                f"Differences to {board.baseline} at a glance, in points.",
                f"Heat map of the differences to {board.baseline} by row and setting; the table above has the numbers.",
                lambda path: _heatmap(board, path),
            )
    ranks = board.ranks
    if ranks is not None and ranks.has_power:
        add(
            "ranks",
            "Mean ranks, 1 is best. A bar joins settings that cannot be told apart.",
            "Critical-difference diagram of the mean ranks.",
            lambda path: critical_difference_diagram(
                *(ranks.mean_ranks, ranks.critical_difference, ranks.cliques),
                path,
                f"{board.study}: mean ranks over {counted(ranks.datasets, 'dataset')}",
            ),
        )
    if content.shift.measures:
        add(
            "shift",
            f"Difference to {board.baseline} against how much farther than {board.baseline} a setting takes the input "
            "from what the source was trained on.",
            "Scatter plots of accuracy difference against shift, a panel for each measure.",
            lambda path: _shift(content, path),
        )
    if content.history is not None and content.history.curves:
        add(
            "history",
            "Test accuracy by epoch. The reference study's Figure 1.",
            "Learning curves: test accuracy by epoch, a panel for each model and dataset, a line for each setting.",
            content.history.draw,
        )
    if content.costs:
        add(
            "cost",
            "What accuracy costs: mean over seeds against the training time of one run.",
            "Scatter plot of accuracy against training time; the tables above have the numbers.",
            lambda path: _cost(content, path),
        )
    return found


def _forest(board: Leaderboard, path: Path) -> object:
    lines = []
    for row, setting, each in comparisons_of(board):
        low, high = each.interval or (None, None)
        verdict = "undecided" if each.blocked else each.verdict
        lines.append(Line(row.name, setting, each.mean, low, high, verdict, verdict_text(each)))
    pooled = []
    for setting, summary in board.summaries.items():
        if (effect := summary.effect) is not None:
            label = f"mean over {counted(effect.rows, 'row')}"
            pooled.append(Line(label, setting, effect.mean, *effect.interval, _decided(effect, board), ""))
    title = f"{board.study}, {board.metric}: difference to {board.baseline}"
    return forest(lines, path, title, board.rules.rope, board.baseline, pooled)


def _decided(effect: PooledEffect, board: Leaderboard) -> Verdict:
    """Say what a mean effect's interval leaves out; it is one statement for a setting, not one of a table."""
    low, high = effect.interval
    if -board.rules.rope < low and high < board.rules.rope:
        return "equivalent"
    return "undecided" if low <= 0 <= high else "better" if low > 0 else "worse"


def _heatmap(board: Leaderboard, path: Path) -> object:
    cells = {
        (row.name, setting): Cell(comparison.mean, "undecided" if comparison.blocked else comparison.verdict)
        for row, setting, comparison in comparisons_of(board)
    }
    settings = [name for name in board.settings if name != board.baseline]
    title = f"{board.study}, {board.metric}: difference to {board.baseline}"
    return delta_heatmap(cells, path, title, [row.name for row in board.rows], settings, board.baseline)


def _shift(content: Content, path: Path) -> object:
    panels = [
        ShiftPanel(
            measure=f"{measure.label}, beyond {content.shift.baseline}'s (source SDs)",
            points=[ShiftPoint(p.setting, p.excess, p.difference, p.low, p.high) for p in measure.points],
            correlation=measure.correlation,
        )
        for measure in content.shift.measures
    ]
    title = f"{content.board.study}, {content.board.metric}: shift against gain"
    return shift_against_gain(panels, path, title, content.shift.baseline)


def _cost(content: Content, path: Path) -> object:
    points = []
    for cost in content.costs:
        score = cost.row.scores[cost.setting]
        if score.mean is not None:
            points.append(
                Point(
                    dataset=str(cost.row.label["dataset"]),
                    model=_network(cost.row),
                    setting=cost.setting,
                    seconds=cost.seconds,
                    accuracy=score.mean,
                    sd=score.sd,
                )
            )
    return cost_against_accuracy(points, path, f"{content.board.study}, {content.board.metric}: accuracy against cost")


def _network(row: Row) -> str:
    """Name what tells a row's networks apart within its dataset: the model, and every other axis."""
    others = {key: value for key, value in row.label.items() if key != "dataset"}
    return "/".join(value if isinstance(value, str) else f"{key}={value}" for key, value in others.items())
