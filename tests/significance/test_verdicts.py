"""Rules of the verdicts: what they need, that they are fair to both sides, and that further seeds decide."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tracker.significance.crossed import Noise, noise_of_seeds
from tracker.significance.verdicts import FIRST_SEEDS, MAX_FURTHER, Evidence, Verdict, further_seeds, judge

NOISE = Noise(5, 10_000, 1e-6, 1e-7)
MIRRORED = {"better": "worse", "worse": "better", "equivalent": "equivalent", "undecided": "undecided"}
MEANS = st.floats(-0.02, 0.02)


@st.composite
def noises(draw: st.DrawFn) -> Noise:
    """Noise of the size that fine-tuning has."""
    images = draw(st.sampled_from([0, 300, 10_000]))
    of_images = draw(st.floats(0, 1e-5)) if images else 0.0
    return Noise(draw(st.integers(2, 10)), images, draw(st.floats(1e-8, 1e-4)), of_images)


@pytest.mark.parametrize(
    ("mean", "interval", "p_adjusted", "verdict"),
    [
        (0.010, (0.005, 0.015), 0.01, "better"),
        (-0.010, (-0.015, -0.005), 0.01, "worse"),
        (0.010, (0.005, 0.015), 0.05, "undecided"),
        (0.010, (-0.001, 0.021), 0.01, "undecided"),
        (0.010, (0.000, 0.020), 0.01, "undecided"),
        (0.001, (-0.001, 0.002), 0.90, "equivalent"),
        (0.001, (0.0005, 0.0015), 0.001, "equivalent"),
        (0.001, (-0.001, 0.003), 0.90, "undecided"),
        (-0.001, (-0.003, 0.001), 0.90, "undecided"),
        (0.010, None, 0.01, "undecided"),
        (0.010, (0.005, 0.015), None, "undecided"),
    ],
)
def test_a_verdict_needs_interval_and_adjusted_p(
    mean: float, interval: tuple[float, float] | None, p_adjusted: float | None, verdict: Verdict
) -> None:
    """Better and worse need both, not at their limits; equivalent needs an interval in the region, and goes first."""
    assert judge(Evidence(mean, NOISE, interval, p_adjusted)) == verdict


def test_one_seed_decides_nothing() -> None:
    """Without noise between seeds there is no verdict, however clear its images are."""
    assert judge(Evidence(0.2, None, (0.19, 0.21), 1e-9)) == "undecided"


@given(MEANS, MEANS, MEANS, st.floats(0, 1), st.floats(0.0005, 0.01))
def test_verdicts_are_fair_to_both_sides(mean: float, one: float, other: float, p: float, rope: float) -> None:
    """Baseline against setting has the mirrored verdict; every verdict is one of the four."""
    low, high = sorted((one, other))
    assume(low <= mean <= high)
    verdict = judge(Evidence(mean, NOISE, (low, high), p), rope)
    assert verdict in get_args(Verdict)
    assert judge(Evidence(-mean, NOISE, (-high, -low), p), rope) == MIRRORED[verdict]


@given(MEANS, noises(), st.floats(0.001, 0.01), st.sampled_from([0.05, 0.025, 0.0083]), st.integers(1, 48))
def test_so_many_further_seeds_decide_and_one_less_does_not(
    mean: float, noise: Noise, rope: float, alpha: float, tests: int
) -> None:
    """With the number told the p-value or the interval decides, if nothing else changes; with one less neither does."""

    def decided(further: int) -> bool:
        seeds = noise.seeds + further
        more = Noise(seeds, noise.images, noise.between_seeds, noise.from_images)
        half = more.half_width(1 - alpha)
        interval = (mean - half, mean + half)
        # Bonferroni among those that are undecided is what the first of them meets under Holm.
        return judge(Evidence(mean, more, interval, min(1.0, tests * more.p_value(mean))), rope, alpha) != "undecided"

    further = further_seeds(mean, noise, rope, alpha, tests)
    if further is None:
        assert not decided(MAX_FURTHER)
    else:
        assert 1 <= further <= MAX_FURTHER
        assert decided(further)
        assert further == 1 or not decided(further - 1)


@given(st.floats(0.0035, 0.02), noises())
def test_larger_differences_and_fewer_tests_need_fewer_seeds(mean: float, noise: Noise) -> None:
    """Beyond the region of equivalence, half as much again needs no more seeds, nor does a test less."""
    many, few, larger = (
        further_seeds(mean, noise, tests=20) or MAX_FURTHER + 1,
        further_seeds(mean, noise, tests=1) or MAX_FURTHER + 1,
        further_seeds(1.5 * mean, noise, tests=20) or MAX_FURTHER + 1,
    )
    assert few <= many
    assert larger <= many


def test_too_few_images_cannot_be_mended_by_seeds() -> None:
    """300 images do not show that a difference is below 0.3 points, which is less than one of them."""
    assert further_seeds(0.0, Noise(3, 300, 0.0, 0.0)) is None
    assert further_seeds(0.0, Noise(3, 10_000, 1e-6, 0.0)) is not None


def test_without_a_known_noise_three_seeds_are_asked_for() -> None:
    """One seed, or two that agree, are brought to three; more that agree are told no number."""
    assert further_seeds(0.01, None) == FIRST_SEEDS - 1
    assert further_seeds(0.01, noise_of_seeds([0.01, 0.01])) == FIRST_SEEDS - 2
    assert further_seeds(0.01, noise_of_seeds([0.01, 0.01, 0.01])) is None
