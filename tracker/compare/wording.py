"""How numbers and titles of a leaderboard read, the same in every format. Percent starts here."""

from __future__ import annotations

from tracker.compare.comparison import Comparison, Interval
from tracker.compare.scores import Leaderboard, Row, Score
from tracker.study.wording import counted


def percent(fraction: float) -> str:
    """Print an accuracy in percent, 2 decimals."""
    return f"{100 * fraction:.2f}"


def spread(score: Score) -> str:
    """Print a sample standard deviation in points, `±0.12`; nothing where there is none."""
    return "" if score.sd is None else f"±{percent(score.sd)}"


def points(difference: float | None) -> str:
    """Print a difference in percentage points, signed; what rounds to zero has no sign, and None is nothing."""
    if difference is None:
        return ""
    text = f"{100 * difference:+.2f}"
    return "0.00" if float(text) == 0 else text


def delta_text(score: Score) -> str:
    """Print a score's difference to the baseline."""
    return points(score.delta.mean if score.delta else None)


def interval_text(interval: Interval | None) -> str:
    """Print an interval of a difference in points, `[-0.12, +0.50]`; nothing where there is none."""
    return "" if interval is None else f"[{100 * interval[0]:+.2f}, {100 * interval[1]:+.2f}]"


def p_text(p: float | None) -> str:
    """Print a p-value, `0.031`, `<0.001`; nothing where there is none."""
    return "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def verdict_text(comparison: Comparison) -> str:
    """Say what may be said: `better`, `equivalent`, `undecided, 4 more seeds`, ..."""
    if comparison.blocked:
        return "not comparable"
    if comparison.verdict != "undecided":
        return comparison.verdict
    if comparison.pairs == 1:
        return "undecided, one seed"
    if comparison.further_seeds is None:
        images = comparison.noise is not None and comparison.noise.images > 0
        return "undecided, too few test images" if images else "undecided, over 1,000 seeds"
    return f"undecided, {comparison.further_seeds} more seed{'s' * (comparison.further_seeds != 1)}"


def record_text(wins: int, ties: int, losses: int) -> str:
    """Print in how many rows a setting is above, at and below the baseline, `9-0-7`."""
    return f"{wins}-{ties}-{losses}" if wins + ties + losses else ""


def comparisons_of(board: Leaderboard) -> list[tuple[Row, str, Comparison]]:
    """Return every comparison of a table: its row, its setting, and what may be said."""
    return [
        (row, setting, score.comparison)
        for row in board.rows
        for setting, score in row.scores.items()
        if score.comparison is not None
    ]


def comparisons_title(board: Leaderboard) -> str:
    """Head the table of comparisons."""
    return f"Differences to {board.baseline} in points, with 95 % intervals"


def comparisons_legend(board: Leaderboard) -> str:
    """Explain the table of comparisons."""
    compared = [comparison for _, _, comparison in comparisons_of(board)]
    bases = {comparison.basis for comparison in compared}
    parts = []
    if "seeds and images" in bases:
        parts.append("Intervals by a two-level bootstrap over seeds and test images.")
    if "seeds" in bases:
        parts.append("Where predictions are not stored, intervals know the noise of seeds alone.")
    if bases & {"images", "counts"}:
        parts.append("The interval of one seed is about two trained networks, not about their settings.")
    if any(comparison.p_adjusted is not None for comparison in compared):
        tests = sum(comparison.p_adjusted is not None for comparison in compared)
        parts.append(f"p after Holm, over {tests} comparison{'s' * (tests != 1)}.")
        parts.append(f"Equivalent: within {100 * board.rules.rope:g} points.")
    if board.rules.look:
        parts.append(f"Look {board.rules.look} at a growing study: verdicts at the level {board.rules.alpha:.2g}.")
    return " ".join(parts)


def gaps_text(score: Score) -> str:
    """Say what is open: `missing` where nothing is measured, `n=2, 1 failed` where something is; else nothing."""
    if not score.gaps:
        return ""
    if score.expected == 1:
        return next(iter(score.gaps))
    counts = [f"{count} {state}" for state, count in score.gaps.items()]
    return ", ".join([f"n={score.n}", *counts] if score.n else counts)


def title(board: Leaderboard) -> str:
    """Name study, metric and selection rule."""
    return f"{board.study}, {board.metric}: {board.selection}"


def subtitle(board: Leaderboard) -> str:
    """Name the baseline and how many seeds stand behind each score."""
    expected = {score.expected for row in board.rows for score in row.scores.values()}
    fewest, most = min(expected), max(expected)
    if fewest < most:
        return f"baseline {board.baseline}; n = {fewest} to {most} seeds, as each needed"
    seeds = f"n = {most} seed{'s' * (most != 1)}"
    return f"baseline {board.baseline}; {seeds}{'' if board.uniform_n else ' where nothing else is said'}"


def legend(board: Leaderboard) -> str:
    """Explain the numbers of a table."""
    several = any(score.expected > 1 for row in board.rows for score in row.scores.values())
    value = "mean ± sample SD over seeds" if several else "one seed"
    text = f"Percent, {value}; signed: difference to {board.baseline} in points, paired by seed."
    if any(summary.delta_rows for summary in board.summaries.values()):
        text += " W-T-L: rows won, tied, lost."
    if board.metric == "best_acc" and any(summary.optimism is not None for summary in board.summaries.values()):
        text += " Optimism: best_acc - last_acc."
    ranked = board.summaries[board.baseline].rank_rows
    compared = _delta_rows(board)
    if compared == {ranked} and ranked:
        return f"{text} Mean rank and mean delta over {counted(ranked, 'row')}."
    if ranked:
        text += f" Mean rank over {counted(ranked, 'row')}."
    if len(compared) > 1:
        text += " Mean delta over as many rows as the brackets say."
    elif compared and (count := compared.pop()):
        text += f" Mean delta over {counted(count, 'row')}."
    return text


def footer(board: Leaderboard) -> list[tuple[str, dict[str, str]]]:
    """Return a table's last lines, each a label and its text by setting; those with nothing to say are left out."""
    summaries = board.summaries.items()
    several = len(_delta_rows(board)) > 1
    ranks = {name: "" if each.average_rank is None else f"{each.average_rank:.2f}" for name, each in summaries}
    deltas = {
        name: points(each.mean_delta) + (f" ({each.delta_rows})" if several and each.delta_rows else "")
        for name, each in summaries
    }
    records = {name: record_text(each.wins, each.ties, each.losses) for name, each in summaries}
    lines = [("mean rank", ranks), ("mean delta", deltas), ("W-T-L", records)]
    if board.metric == "best_acc":
        lines.append(("optimism", {name: points(each.optimism) for name, each in summaries}))
    return [(label, texts) for label, texts in lines if any(texts.values())]


def _delta_rows(board: Leaderboard) -> set[int]:
    return {summary.delta_rows for name, summary in board.summaries.items() if name != board.baseline}
