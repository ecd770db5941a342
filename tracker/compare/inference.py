"""From differences to statements: an interval, tests and a verdict for every comparison of a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tracker.compare.comparison import Basis, Comparison, Rules
from tracker.compare.grading import Grades, layout_of
from tracker.compare.guard import obstacles
from tracker.compare.scores import Outcome, Row, Score
from tracker.significance.bootstrap import ImageResamples, Interval, bootstrap_interval
from tracker.significance.crossed import Noise, noise_of_layout, noise_of_seeds
from tracker.significance.multiplicity import holm
from tracker.significance.paired import McNemar, mcnemar, sampling_variance, sign_flip, t_interval, unpaired_z
from tracker.significance.verdicts import Evidence, further_seeds, judge

LEVEL = 0.95
TOLERANCE = 1e-6
"""An accuracy in MLflow and the mean of the stored predictions agree to this, or they are not of one epoch."""


def with_comparisons(rows: Sequence[Row], baseline: str, grades: Grades, rules: Rules) -> list[Row]:
    """Put a comparison with the baseline into every score that has a difference to it.

    Args:
        rows: the table.
        grades: of the runs that count, those there are.
    """
    judged = _Bench(grades, rules)
    compared = {
        (number, setting): judged.compare(score, row.scores[baseline])
        for number, row in enumerate(rows)
        for setting, score in row.scores.items()
        if score.delta is not None
    }
    verdicts = judged.verdicts(compared)
    return [
        replace(
            row,
            scores={
                setting: replace(score, comparison=verdicts.get((number, setting)))
                for setting, score in row.scores.items()
            },
        )
        for number, row in enumerate(rows)
    ]


Key = tuple[int, str]


class _Bench:
    """What the comparisons of one table share: predictions, resamples of the images, rules."""

    def __init__(self, grades: Grades, rules: Rules) -> None:
        self._grades = grades
        self._rules = rules
        self._resamples: dict[int, ImageResamples] = {}

    def compare(self, score: Score, other: Score) -> tuple[Comparison, Interval | None]:
        """Return a comparison without verdict, and its interval at the look's level."""
        assert score.delta is not None
        seeds = list(score.delta.by_seed)
        differences = list(score.delta.by_seed.values())
        ours = _by_seed(score.outcomes, seeds)
        theirs = _by_seed(other.outcomes, seeds)
        layout = self._layout(ours, theirs, differences)
        noise = _noise(layout, differences)
        known = layout is not None
        basis: Basis
        interval: Interval | None
        strict: Interval | None
        if layout is not None:
            basis = "seeds and images" if noise is not None else "images"
            interval = self._bootstrap(layout, noise, LEVEL)
            strict = self._bootstrap(layout, noise, 1 - self._rules.alpha) if self._rules.look else interval
        elif noise is not None:
            basis = "seeds"
            half = [noise.half_width(level) for level in (LEVEL, 1 - self._rules.alpha)]
            mean = score.delta.mean
            interval, strict = ((mean - h, mean + h) if noise.variance() else None for h in half)
        else:
            interval = strict = _counts_interval(ours[0], theirs[0])
            basis = "counts" if interval is not None else "nothing"
        found = tuple(obstacles([*ours, *theirs]))
        certain = noise is not None and (noise.variance() > 0 or known)
        comparison = Comparison(
            pairs=len(seeds),
            mean=score.delta.mean,
            basis=basis,
            interval=interval,
            t_interval=t_interval(differences, LEVEL),
            p=noise.p_value(score.delta.mean) if noise is not None and certain else None,
            sign_flip=sign_flip(differences),
            mcnemar=_mcnemar(seeds, layout),
            z=_z(ours[0], theirs[0]) if len(seeds) == 1 else None,
            images=0 if layout is None else layout.shape[1],
            noise=noise,
            obstacles=found,
            blocked=bool(found) and not self._rules.force,
        )
        return comparison, strict

    def verdicts(self, compared: Mapping[Key, tuple[Comparison, Interval | None]]) -> dict[Key, Comparison]:
        """Adjust the p-values for the table they stand in, and judge."""
        rules = self._rules
        tested = {key: c.p for key, (c, _) in compared.items() if c.p is not None and not c.blocked}
        adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
        settled = {}
        for key, (comparison, strict) in compared.items():
            p = adjusted.get(key)
            if not comparison.blocked:
                evidence = Evidence(comparison.mean, comparison.noise, strict, p)
                comparison = replace(comparison, p_adjusted=p, verdict=judge(evidence, rules.rope, rules.alpha))
            settled[key] = comparison
        open_tests = count_open_tests(settled.values())
        return {key: self._with_need(comparison, open_tests) for key, comparison in settled.items()}

    def _with_need(self, comparison: Comparison, open_tests: int) -> Comparison:
        if comparison.verdict != "undecided" or comparison.blocked:
            return comparison
        rules = self._rules
        return replace(
            comparison,
            further_seeds=further_seeds(comparison.mean, comparison.noise, rules.rope, rules.next_alpha, open_tests),
        )

    def _layout(
        self, ours: Sequence[Outcome], theirs: Sequence[Outcome], differences: Sequence[float]
    ) -> NDArray[np.int8] | None:
        """Return the paired layout of predictions; None if one is missing or is not of the accuracy's epoch."""
        pairs = [
            (one_graded, other_graded)
            for one, other in zip(ours, theirs, strict=True)
            if (one_graded := self._grades.get(one.run_id or ""))
            and (other_graded := self._grades.get(other.run_id or ""))
        ]
        if len(pairs) < len(ours):
            return None
        layout = layout_of(pairs)
        if layout is None or layout.shape[1] < 2 or not np.allclose(layout.mean(axis=1), differences, atol=TOLERANCE):
            return None
        return layout

    def _bootstrap(self, layout: NDArray[np.int8], noise: Noise | None, level: float) -> Interval:
        images = layout.shape[1]
        if images not in self._resamples:
            self._resamples[images] = ImageResamples(images)
        return bootstrap_interval(layout, noise, self._resamples[images], level)


def count_open_tests(compared: Iterable[Comparison]) -> int:
    """Return among how many an undecided comparison has to stand out: Holm counts all but those found to differ."""
    return sum(not c.blocked and c.verdict not in ("better", "worse") for c in compared)


def _by_seed(outcomes: Iterable[Outcome], seeds: Sequence[int]) -> list[Outcome]:
    found = {outcome.seed: outcome for outcome in outcomes}
    return [found[seed] for seed in seeds]


def _noise(layout: NDArray[np.int8] | None, differences: Sequence[float]) -> Noise | None:
    if len(differences) < 2:
        return None
    return noise_of_seeds(differences) if layout is None else noise_of_layout(layout)


def _mcnemar(seeds: Sequence[int], layout: NDArray[np.int8] | None) -> dict[int, McNemar]:
    return {} if layout is None else {seed: mcnemar(row) for seed, row in zip(seeds, layout, strict=True)}


def _z(one: Outcome, other: Outcome) -> float | None:
    if one.value is None or other.value is None or not one.test_images or not other.test_images:
        return None
    z = unpaired_z(one.value, other.value, one.test_images, other.test_images)
    return z if math.isfinite(z) else None


def _counts_interval(one: Outcome, other: Outcome) -> Interval | None:
    """Return the interval of two single accuracies' difference, as if measured on independent images."""
    variance = counts_variance(one, other)
    if variance is None or one.value is None or other.value is None:
        return None
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * variance**0.5
    return one.value - other.value - half, one.value - other.value + half


def counts_variance(one: Outcome, other: Outcome) -> float | None:
    """Return the variance of two accuracies' difference from the numbers of images alone; None if those are unknown."""
    if one.value is None or other.value is None or not one.test_images or not other.test_images:
        return None
    return sampling_variance(one.value, one.test_images) + sampling_variance(other.value, other.test_images)
