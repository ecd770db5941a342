"""Many tests at once, and tests that are repeated as data grow."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for all of them being looked at: below the level at most so often by chance, in all.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    order = sorted(range(len(p_values)), key=lambda number: p_values[number])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for place, number in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[number]))
        adjusted[number] = largest
    return adjusted


def level_at_look(look: int, alpha: float = 0.05) -> float:
    """Return the level of the k-th look at a study that grows while it is undecided: alpha / (k (k + 1)).

    They add up to alpha over any number of looks, so growing a study until it is decided does not
    raise the share of false verdicts above alpha. Look 0 is the only look at a study that is not
    grown, with all of alpha: one that is grown after it has had alpha twice.
    """
    return alpha if look == 0 else alpha / (look * (look + 1))
