"""The answer of a study in words: what stands above its table."""

from __future__ import annotations

from tracker.compare.comparison import Comparison
from tracker.compare.scores import Leaderboard
from tracker.compare.wording import comparisons_of, interval_text, points
from tracker.significance.paired import SMALLEST_SIGN_FLIP
from tracker.significance.verdicts import Verdict
from tracker.study.wording import counted

ORDER: tuple[Verdict, ...] = ("better", "worse", "equivalent", "undecided")


def answer(board: Leaderboard) -> list[str]:
    """Return what the comparisons say, a sentence or two for each setting; the first sums up.

    Only judged comparisons speak. Without any the answer says what is lacking.
    """
    compared = [comparison for _, _, comparison in comparisons_of(board) if not comparison.blocked]
    if not compared:
        return [f"Nothing can be said yet: no setting has a result beside {board.baseline}'s at the same seed."]
    return [
        _headline(board, compared),
        *(_setting(board, name) for name in board.settings if board.summaries[name].delta_rows),
    ]


def _headline(board: Leaderboard, compared: list[Comparison]) -> str:
    if all(comparison.pairs == 1 for comparison in compared):
        return (
            "One seed cannot tell the settings of a row apart: how much a result changes from seed to seed is not "
            f"known, and two further seeds are the least.{_on_average(board)}"
        )
    verdicts = {comparison.verdict for comparison in compared}
    complete = len(compared) == sum(len(row.scores) - 1 for row in board.rows)
    if verdicts == {"equivalent"} and complete:
        return f"It makes no difference: every setting is within {100 * board.rules.rope:g} points of {board.baseline}."
    better = [name for name in board.settings if board.summaries[name].verdicts.get("better")]
    worse = [name for name in board.settings if board.summaries[name].verdicts.get("worse")]
    parts = []
    if better:
        parts.append(f"{_listed(better)} {_is(better)} better than {board.baseline} somewhere")
    if worse:
        parts.append(f"{_listed(worse)} {_is(worse)} worse somewhere" if parts else _worse(board, worse))
    if not parts:
        parts.append(f"no setting is shown to be better or worse than {board.baseline}")
    undecided = sum(comparison.verdict == "undecided" for comparison in compared)
    if undecided:
        parts.append(f"{undecided} of {counted(len(compared), 'comparison')} {'is' if undecided == 1 else 'are'} open")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}.{_on_average(board)}"


def _on_average(board: Leaderboard) -> str:
    """Name the settings whose mean effect over rows is not 0, which rows by themselves may not show."""
    found = []
    for word, sign in (("better", 1), ("worse", -1)):
        names = [
            name
            for name in board.settings
            if (effect := board.summaries[name].effect) and min(sign * end for end in effect.interval) > 0
        ]
        if names:
            found.append(f"{_listed(names)} {_is(names)} {word}")
    return f" On average over rows {' and '.join(found)} than {board.baseline}." if found else ""


def _worse(board: Leaderboard, names: list[str]) -> str:
    return f"no setting is shown to be better than {board.baseline}; {_listed(names)} {_is(names)} worse somewhere"


def _setting(board: Leaderboard, name: str) -> str:
    """Say in how many rows a setting has which verdict, and what its mean effect over rows is."""
    summary = board.summaries[name]
    judged = sum(summary.verdicts.values())
    told = [verdict for verdict in ORDER if summary.verdicts.get(verdict)]
    counts = [f"{verdict} in {_of(summary.verdicts[verdict], judged)}" for verdict in told]
    text = f"{name}: {', '.join(counts) or 'not comparable'}"
    if summary.effect is not None:
        effect = summary.effect
        text += (
            f"; on average {points(effect.mean)} points over {counted(effect.rows, 'row')} "
            f"(95 % interval {interval_text(effect.interval)})"
        )
    return f"{text}."


def limits(board: Leaderboard) -> list[str]:
    """Say which methods have no power here, instead of printing what they give, and what would settle the rest."""
    compared = [comparison for _, _, comparison in comparisons_of(board) if not comparison.blocked]
    if not compared:
        return []
    notes = []
    undecided = [comparison for comparison in compared if comparison.verdict == "undecided"]
    if undecided:
        notes.append(_way_on(board, [c.further_seeds for c in undecided if c.further_seeds is not None]))
    if few := [comparison.pairs for comparison in compared if comparison.sign_flip is None]:
        where = "" if len(few) == len(compared) else f" in {len(few)} of {counted(len(compared), 'comparison')}"
        notes.append(
            f"No sign-flip test{where}: {counted(max(few), 'paired seed')} cannot reach p = 0.05, "
            f"{SMALLEST_SIGN_FLIP} are the fewest that can."
        )
    ranks = board.ranks
    if ranks is not None and not ranks.has_power:
        notes.append(
            f"No critical-difference diagram: over {counted(ranks.datasets, 'dataset')} mean ranks would have to be "
            f"{ranks.critical_difference:.2f} apart, of {len(ranks.mean_ranks) - 1} at most; it takes "
            f"{ranks.datasets_needed} datasets to say something."
        )
    elif ranks is not None and ranks.friedman_p is not None:
        groups = "; ".join(" = ".join(group) for group in ranks.cliques) or "all of them differ"
        notes.append(
            f"Friedman over {counted(ranks.datasets, 'dataset')}: p = {ranks.friedman_p:.3f}. Mean ranks less than "
            f"{ranks.critical_difference:.2f} apart cannot be told apart: {groups}."
        )
    return notes


def _way_on(board: Leaderboard, needs: list[int]) -> str:
    """Say what would decide the comparisons that are open."""
    if not needs:
        return "More seeds do not decide what is open; more test images would, or a wider region of equivalence."
    return (
        f"What is open: `tracker sweep --study {board.swept_as} --until-decided` runs what decides it, as far as seeds "
        f"can: up to {counted(max(needs), 'further seed')} a setting."
    )


def _of(count: int, total: int) -> str:
    return f"{count} of {counted(total, 'row')}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _is(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
