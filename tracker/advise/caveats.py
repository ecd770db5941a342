"""What a reader must know before taking a recommendation further than it goes."""

from __future__ import annotations

from collections.abc import Sequence

from tracker.advise.planning import Plan
from tracker.compare.scores import Leaderboard
from tracker.compare.wording import percent
from tracker.study.wording import counted
from tracker.vision.inspection.findings import Inspection

FEW_TEST = 1_000
LEARNED = 0.05
"""Above the share of the largest class: networks that are not, have learned next to nothing."""


def caveats(
    inspection: Inspection,
    plan: Plan,
    board: Leaderboard | None,
    failures: Sequence[tuple[str, str]],
    same: Sequence[tuple[str, str]],
) -> tuple[str, ...]:
    """Return what limits a recommendation, a sentence each.

    Args:
        failures: (run, reason) of runs that failed for good.
        same: (setting, other): left out, since it does what the other does.
    """
    found = [
        f"Short runs: {counted(plan.epochs, 'epoch')} on {counted(plan.train, 'image')}; differences between "
        "normalizations as a rule shrink with longer training and more images."
    ]
    largest = max((count.test for count in inspection.classes), default=0)
    chance = largest / inspection.test if inspection.test else 0.0
    means = [] if board is None else [score.mean for score in board.rows[0].scores.values() if score.mean is not None]
    if means and max(means) < chance + LEARNED:
        found.append(
            f"The networks have hardly learned: the best mean accuracy is {percent(max(means))} %, and always naming "
            f"the largest class is right in {percent(chance)} %. Give it a larger --budget, or another --source."
        )
    leaks = [group for group in inspection.duplicates if group.leaks]
    if leaks:
        found.append(
            f"{counted(len(leaks), 'picture')} {'is' if len(leaks) == 1 else 'are'} in train and in test: accuracies "
            "are higher than on images that are new, for every setting."
        )
    if plan.test < FEW_TEST:
        found.append(f"Few test images ({plan.test:,}): only large differences can be told from chance.")
    for name, reason in failures:
        found.append(f"The run {name} failed: {reason}")
    found += [f"{name} is left out: on these images it does exactly what {other} does." for name, other in same]
    return tuple(found)
