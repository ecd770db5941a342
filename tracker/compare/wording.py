"""How numbers and titles of a leaderboard read, the same in every format. Percent starts here."""

from __future__ import annotations

from tracker.compare.scores import Leaderboard, Score


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
    expected = max(score.expected for row in board.rows for score in row.scores.values())
    seeds = f"n = {expected} seed{'s' * (expected != 1)}"
    return f"baseline {board.baseline}; {seeds}{'' if board.uniform_n else ' where nothing else is said'}"


def legend(board: Leaderboard) -> str:
    """Explain the numbers of a table."""
    several = any(score.expected > 1 for row in board.rows for score in row.scores.values())
    value = "mean ± sample SD over seeds" if several else "one seed"
    text = f"Percent, {value}; signed: difference to {board.baseline} in points, paired by seed."
    ranked = board.summaries[board.baseline].rank_rows
    compared = _delta_rows(board)
    if compared == {ranked} and ranked:
        return f"{text} Mean rank and mean delta over {_rows(ranked)}."
    if ranked:
        text += f" Mean rank over {_rows(ranked)}."
    if len(compared) > 1:
        text += " Mean delta over as many rows as the brackets say."
    elif compared and (count := compared.pop()):
        text += f" Mean delta over {_rows(count)}."
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
    lines = [("mean rank", ranks), ("mean delta", deltas)]
    return [(label, texts) for label, texts in lines if any(texts.values())]


def _delta_rows(board: Leaderboard) -> set[int]:
    return {summary.delta_rows for name, summary in board.summaries.items() if name != board.baseline}


def _rows(count: int) -> str:
    return f"{count} row{'s' * (count != 1)}"
