"""Further seeds that the budget pays for, out of those that a decision asks for."""

from __future__ import annotations

from collections import Counter

from tracker.compare.deciding import Decision
from tracker.study.study import Study


def trimmed(study: Study, decision: Decision, cells: int) -> Study | None:
    """Return the study with as many of the further seeds as make so many cells at most.

    A seed is kept for all settings that were to get it, or for none, so that pairs stay pairs.

    Args:
        study: as it was judged.
        decision: grown from it.
        cells: further ones that can be paid for.

    Returns:
        None where not even one seed can, or none is asked for.
    """
    if decision.study is None:
        return None
    added = {
        name: seeds[len(study.more_seeds.get(name, ())) :] for name, seeds in decision.study.more_seeds.items()
    }  # what is added stands last
    cost = Counter(seed for seeds in added.values() for seed in seeds)
    kept: set[int] = set()
    for seed in cost:
        if cost[seed] > cells:
            break
        cells -= cost[seed]
        kept.add(seed)
    if not kept:
        return None
    grown = {
        name: (*study.more_seeds.get(name, ()), *(seed for seed in seeds if seed in kept))
        for name, seeds in added.items()
    }
    return decision.study.with_fields(more_seeds={name: seeds for name, seeds in grown.items() if seeds})
