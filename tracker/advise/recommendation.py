"""From a judged table to one setting: which, why, how sure, and what would make it surer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tracker.advise.rounds import Ending
from tracker.compare.comparison import Comparison
from tracker.compare.deciding import MAX_SEEDS
from tracker.compare.scores import Leaderboard, Row, Score
from tracker.compare.wording import interval_text, percent, points
from tracker.study.wording import counted

Certainty = Literal["better", "no difference", "not better", "undecided", "unfinished"]
"""What the setting is recommended for: shown to be better than the baseline; the baseline, as the others make no
difference, or some of them are worse; the baseline, as nothing is shown, or nothing could be judged."""


@dataclass(frozen=True)
class Recommendation:
    """What to use.

    Args:
        setting: exactly one.
        certainty: on what ground.
        headline: the setting, and why, in a sentence.
        findings: a sentence for each setting that was judged.
        unjudged: a sentence for each that could not be.
        basis: what the verdicts rest on: seeds, test images, levels.
        ways_on: what would decide what is open.
    """

    setting: str
    certainty: Certainty
    headline: str
    findings: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()
    basis: str = ""
    ways_on: tuple[str, ...] = ()


def recommend(
    board: Leaderboard | None,
    *,
    baseline: str,
    ending: Ending,
    cell_seconds: float | None = None,
    all_test_images: bool = True,
) -> Recommendation:
    """Choose a setting.

    One that is shown to be better than the baseline, the best of them by its mean; else the baseline. An
    undecided setting is never recommended over it, however far ahead its mean is: that is what undecided means.

    Args:
        board: of the last round that has ended, a single row; None where none has.
        baseline: what settings are compared with.
        ending: why there is no further round.
        cell_seconds: what a run takes, for what further seeds would cost.
        all_test_images: whether every test image there is was used.
    """
    if board is None:
        headline = f"Use {baseline}, for want of a comparison: no round of runs has ended, so nothing is judged."
        return Recommendation(baseline, "unfinished", headline, ways_on=_ways_on({}, ending, None, all_test_images))
    row, rope = board.rows[0], board.rules.rope
    judged = _judged(row, baseline)
    unjudged = tuple(
        _not_judged(name, score, baseline)
        for name, score in row.scores.items()
        if name != baseline and name not in judged
    )
    if not judged:
        return _nothing_judged(row, baseline, unjudged)
    certainty: Certainty
    of_verdict: dict[str, list[str]] = {}
    for name, comparison in judged.items():
        of_verdict.setdefault(comparison.verdict, []).append(name)
    better = sorted(of_verdict.get("better", ()), key=lambda name: -(row.scores[name].mean or 0.0))
    if better:
        setting, certainty = better[0], "better"
        headline = _better(row, better, judged, baseline)
    elif "undecided" in of_verdict:
        setting, certainty = baseline, "undecided"
        headline = _undecided(of_verdict, judged, baseline)
    elif "worse" in of_verdict:
        setting, certainty = baseline, "not better"
        headline = _not_better(of_verdict, judged, baseline, rope)
    else:
        setting, certainty = baseline, "no difference"
        headline = f"It makes no difference: use {baseline}. {_all_equivalent(judged, rope)}"
    return Recommendation(
        setting=setting,
        certainty=certainty,
        headline=headline,
        findings=tuple(_finding(name, comparison, baseline, rope) for name, comparison in judged.items()),
        unjudged=unjudged,
        basis=_basis(board, judged),
        ways_on=_ways_on(judged, ending, cell_seconds, all_test_images),
    )


def _judged(row: Row, baseline: str) -> dict[str, Comparison]:
    """Return the comparisons that may be spoken of."""
    return {
        name: score.comparison
        for name, score in row.scores.items()
        if name != baseline and score.comparison is not None and not score.comparison.blocked
    }


def _nothing_judged(row: Row, baseline: str, unjudged: tuple[str, ...]) -> Recommendation:
    """Recommend the baseline unless it has no result itself; then what has the highest mean, which is no comparison."""
    means = {name: score.mean for name, score in row.scores.items() if score.mean is not None}
    if baseline in means or not means:
        setting, why = baseline, "for want of a comparison: no other setting has runs that can be held against its own"
    else:
        setting = max(means, key=means.__getitem__)
        gaps = ", ".join(f"{count} {state}" for state, count in row.scores[baseline].gaps.items())
        score = row.scores[setting]
        why = (
            f"for want of a comparison: {baseline} has no result ({gaps}), and {setting} the highest mean, "
            f"{_accuracy(score)} ({counted(score.n, 'seed')})"
        )
    return Recommendation(setting, "unfinished", f"Use {setting}, {why}.", unjudged=unjudged)


def _better(row: Row, better: Sequence[str], judged: Mapping[str, Comparison], baseline: str) -> str:
    best = better[0]
    accuracies = f"{_accuracy(row.scores[best])} against {_accuracy(row.scores[baseline])}"
    text = f"Use {best}: it is better than {baseline} by {_measured(judged[best])}, {accuracies}."
    if len(better) > 1:
        are = "is" if len(better) == 2 else "are"
        text += f" So {are} {_listed(better[1:])}; these are not told apart, {best} has the highest mean."
    return text


def _undecided(of_verdict: Mapping[str, Sequence[str]], judged: Mapping[str, Comparison], baseline: str) -> str:
    names = of_verdict["undecided"]
    worse = [f"{name} is worse by {_measured(judged[name], signed=False)}" for name in of_verdict.get("worse", ())]
    text = f"Use {baseline}: {'; '.join(['no other setting is shown to be better', *worse])}."
    bounds = [interval for name in names if (interval := judged[name].interval) is not None]
    if len(bounds) < len(names):
        return text
    low, high = min(bound[0] for bound in bounds), max(bound[1] for bound in bounds)
    who = f"to {names[0]}" if len(names) == 1 else f"to {_listed(names)}, all taken together"
    between = f"between {points(low)} and {points(high)} points"
    known = f"95 % intervals, {_seeds(judged[name] for name in names)}"
    return f"{text} If there is a difference {who}, it is {between} ({known})."


def _not_better(
    of_verdict: Mapping[str, Sequence[str]], judged: Mapping[str, Comparison], baseline: str, rope: float
) -> str:
    worse = [f"{name} is worse by {_measured(judged[name], signed=False)}" for name in of_verdict["worse"]]
    text = f"Use {baseline}: {'; '.join(worse)}."
    if same := of_verdict.get("equivalent"):
        text += f" {_listed(same)} {'makes' if len(same) == 1 else 'make'} no difference of {_size(rope)}."
    return text


def _all_equivalent(judged: Mapping[str, Comparison], rope: float) -> str:
    widest = max(abs(end) for comparison in judged.values() for end in comparison.interval or ())
    return (
        f"{_listed(list(judged))} {'is' if len(judged) == 1 else 'are'} within {_size(rope)} of it, "
        f"{100 * widest:.2f} at most by the 95 % intervals ({_seeds(judged.values())})."
    )


def _finding(name: str, comparison: Comparison, baseline: str, rope: float) -> str:
    measured = _measured(comparison)
    match comparison.verdict:
        case "better" | "worse":
            return f"{name}: {comparison.verdict} than {baseline}, {measured}."
        case "equivalent":
            return f"{name}: no difference that matters, {measured}; within {_size(rope)}."
        case "undecided":
            return f"{name}: undecided, {measured}."


def _not_judged(name: str, score: Score, baseline: str) -> str:
    if score.comparison is not None:
        return f"{name}: not comparable with {baseline}, the runs differ in {'; '.join(score.comparison.obstacles)}."
    gaps = ", ".join(f"{count} {state}" for state, count in score.gaps.items())
    return f"{name}: not judged, no seed has a result in both ({gaps or 'none measured'})."


def _measured(comparison: Comparison, signed: bool = True) -> str:
    """Print a difference with its interval and its n."""
    mean = points(comparison.mean) if signed else f"{100 * abs(comparison.mean):.2f}"
    interval = f"95 % interval {interval_text(comparison.interval)}" if comparison.interval else "no interval"
    return f"{mean} points ({interval}, {counted(comparison.pairs, 'seed')})"


def _accuracy(score: Score) -> str:
    spread = "" if score.sd is None else f" ± {percent(score.sd)}"
    return "unknown" if score.mean is None else f"{percent(score.mean)} %{spread}"


def _seeds(judged: Iterable[Comparison]) -> str:
    """Print how many seeds comparisons have: `3 seeds`, `3 to 6 seeds`."""
    pairs = [comparison.pairs for comparison in judged]
    few, many = min(pairs), max(pairs)
    return counted(many, "seed") if few == many else f"{few} to {many} seeds"


def _basis(board: Leaderboard, judged: Mapping[str, Comparison]) -> str:
    """Say how sure a verdict is: what was sampled, and how often chance alone may give one."""
    images = max(comparison.images for comparison in judged.values())
    tested = f" on {counted(images, 'test image')}" if images else ""
    look = f"look {board.rules.look}; " if board.rules.look else ""
    return (
        f"{_seeds(judged.values())} a setting{tested}, paired; ± is the standard deviation over seeds. "
        f"By chance alone at most {100 * board.rules.alpha:.2g} % of such tables call a setting better or worse "
        f"({look}Holm's adjustment over {counted(len(judged), 'comparison')})."
    )


def _ways_on(
    judged: Mapping[str, Comparison], ending: Ending, cell_seconds: float | None, all_test_images: bool
) -> tuple[str, ...]:
    """Say what would decide what is undecided."""
    ways = []
    open_ones = {name: comparison for name, comparison in judged.items() if comparison.verdict == "undecided"}
    countable = {name: c.further_seeds for name, c in open_ones.items() if c.further_seeds is not None}
    if countable:
        most = max(countable.values())
        cost = sum(countable.values()) + most  # the baseline is run once for all
        time = "" if cell_seconds is None else f", about {_minutes(cost * cell_seconds)} of training"
        how = (
            f"they are beyond the {MAX_SEEDS} that are taken here"
            if ending == "no use"
            else "the same command with a larger --budget goes on"
        )
        would = f"{counted(most, 'further seed')} would decide, if difference and noise stay what they are{time}"
        ways.append(f"{_listed(list(countable))}: {would}; {how}.")
    hopeless = {name: comparison for name, comparison in open_ones.items() if name not in countable}
    few = [name for name, comparison in hopeless.items() if comparison.noise is not None and comparison.noise.images]
    if few:
        more = "add test images" if all_test_images else "there are more: --again with a larger --budget"
        ways.append(f"{_listed(few)}: no number of seeds decides on so few test images; {more}.")
    if rest := [name for name in hopeless if name not in few]:
        ways.append(f"{_listed(rest)}: over 1,000 further seeds would be needed.")
    if ending == "unfinished":
        ways.append("The last round was cut short by the budget and is not judged; a larger --budget ends it.")
    return tuple(ways)


def _size(rope: float) -> str:
    return "1 point" if rope == 0.01 else f"{100 * rope:g} points"


def _minutes(seconds: float) -> str:
    return counted(max(1, round(seconds / 60)), "minute")


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
