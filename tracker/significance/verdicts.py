"""What may be said of a difference, and how many more seeds would settle it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tracker.significance.crossed import Noise

Verdict = Literal["better", "worse", "equivalent", "undecided"]

ALPHA = 0.05
ROPE = 0.003
"""Region of practical equivalence: a difference of less than 0.3 points is of no use to anybody."""
MAX_FURTHER = 1_000
"""Beyond so many further seeds the answer is that seeds do not settle it."""
FIRST_SEEDS = 3
"""What a single seed is brought to before a number of seeds can be told: two would make t intervals 13 wide."""


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on.

    Args:
        mean: of the paired differences.
        noise: of that mean; None for a single seed.
        interval: two-sided, of level 1 - the look's level.
        p_adjusted: of no difference, adjusted for the whole table.
    """

    mean: float
    noise: Noise | None
    interval: tuple[float, float] | None
    p_adjusted: float | None


def judge(evidence: Evidence, rope: float = ROPE, alpha: float = ALPHA) -> Verdict:
    """Say what the evidence allows.

    Equivalent comes first: a difference may be certain and yet too small to matter. Better and worse
    need both the adjusted p below `alpha` and an interval that leaves 0 out.
    """
    if evidence.noise is None or evidence.interval is None or evidence.p_adjusted is None:
        return "undecided"
    low, high = evidence.interval
    if -rope < low and high < rope:
        return "equivalent"
    if evidence.p_adjusted < alpha and not low <= 0 <= high:
        return "better" if evidence.mean > 0 else "worse"
    return "undecided"


def further_seeds(
    mean: float, noise: Noise | None, rope: float = ROPE, alpha: float = ALPHA, tests: int = 1
) -> int | None:
    """Return how many further seeds would decide, if mean and noise stay what they are.

    Args:
        noise: None for a single seed, which tells nothing of the noise between seeds: the answer is
            then what brings it to `FIRST_SEEDS`.
        tests: among how many undecided comparisons this one has to stand out.

    Returns:
        None where `MAX_FURTHER` would not decide, be it because the test images alone leave too much noise.
    """
    if noise is None:
        return FIRST_SEEDS - 1
    if noise.variance() == 0:
        # Two equal differences come up by chance on a small test split; more of them, and nothing seems to vary.
        return FIRST_SEEDS - noise.seeds if noise.seeds < FIRST_SEEDS else None

    def decides(further: int) -> bool:
        seeds = noise.seeds + further
        clear = abs(mean) > noise.half_width(1 - alpha / tests, seeds)
        return clear or abs(mean) + noise.half_width(1 - alpha, seeds) < rope

    if not decides(MAX_FURTHER):
        return None
    low, high = 0, MAX_FURTHER  # `decides` turns true once: widths only fall
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high
