"""What may be said of a setting against the baseline in one row, and on what ground."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tracker.significance.crossed import Noise
from tracker.significance.multiplicity import level_at_look
from tracker.significance.paired import McNemar
from tracker.significance.verdicts import ROPE, Verdict

Interval = tuple[float, float]

Basis = Literal["seeds and images", "seeds", "images", "counts", "nothing"]
"""What an interval takes into account: both, resampled at two levels; the seeds' differences alone; one seed's
predictions; one seed's accuracies and the number of images behind them; or there is no interval."""


@dataclass(frozen=True)
class Rules:
    """How verdicts are made.

    Args:
        rope: differences below it are of no use, a fraction.
        look: how many times the study has been grown by what its comparisons said; 0 if never.
        force: judge also what the guard says cannot be compared.
    """

    rope: float = ROPE
    look: int = 0
    force: bool = False

    @property
    def alpha(self) -> float:
        """The share of tables with a false better or worse that is allowed at this look."""
        return level_at_look(self.look)

    @property
    def next_alpha(self) -> float:
        """The same at the look that further seeds lead to: stricter in a study that grows."""
        return level_at_look(self.look + 1) if self.look else self.alpha


@dataclass(frozen=True)
class Comparison:
    """A setting minus the baseline, paired by seed: the difference with its uncertainty, and the verdict.

    Fractions, like every accuracy; percent and points start where they are printed.

    Args:
        pairs: seeds that both have.
        mean: of the paired differences.
        basis: what the interval takes into account.
        interval: 95 %, two-sided; of one seed it is about these two networks, not about the settings.
        t_interval: Student's over the seeds' differences, 95 %; None for one seed or equal differences.
        p: two-sided, of no difference; None for one seed.
        p_adjusted: the same after Holm, over the whole table.
        sign_flip: exact two-sided p of a sign-flip test over seeds; None where it has no power, below 6.
        mcnemar: by seed, exact, where the predictions of both networks are stored.
        z: of one seed's two accuracies, as if measured on independent images; None for more seeds.
        images: test images the per-image share of the noise was estimated on; 0 without predictions.
        noise: of the mean, None for one seed.
        verdict: better, worse, equivalent or undecided.
        further_seeds: how many more would decide, if mean and noise stay; None if decided or if none would.
        obstacles: what the runs do not have in common.
        blocked: whether that keeps them from being judged; then the verdict is undecided, whatever the numbers.
    """

    pairs: int
    mean: float
    basis: Basis
    interval: Interval | None
    t_interval: Interval | None
    p: float | None
    sign_flip: float | None
    mcnemar: Mapping[int, McNemar]
    z: float | None
    images: int
    noise: Noise | None
    p_adjusted: float | None = None
    verdict: Verdict = "undecided"
    further_seeds: int | None = None
    obstacles: tuple[str, ...] = ()
    blocked: bool = False
