"""The benchmark that decides whether a precision may be a default: ranking, difference, and when it does not know."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.fidelity import Compared, Way, interval, pretrained, table, train, verdict
from tracker.bench.subject import make_recipe
from tracker.training.execution import PLAIN, usual_execution
from tracker.training.trial import build_classifier
from tracker.vision.stand_ins import Shape, random_images

CPU = torch.device("cpu")

WAYS = [Way("fp32", PLAIN, "fp32"), Way("bf16", PLAIN, "bf16")]
SEEDS = np.array([-0.3, 0.1, 0.0, 0.2])


def compared(name: str, level: float, moved_by: float, noise: float = 0.01, moved: float = 5.0) -> Compared:
    """Four seeds at a level, and in the other precision elsewhere, by a mean and some noise."""
    fp32 = level + SEEDS
    return Compared(name, np.array([fp32, fp32 + moved_by + noise * np.array([1, -1, 1, -1])]), moved, 30.0)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([compared("a", 90, 0.05), compared("b", 91, -0.05)], "bf16 meets the condition"),
        ([compared("a", 90, 0.3), compared("b", 91, 0.3)], "bf16 does not meet the condition"),
        ([compared("a", 90.00, 0.05), compared("b", 90.06, -0.05)], "bf16 does not meet the condition"),
        ([compared("a", 90, 0.0, noise=1.0), compared("b", 91, 0.0)], "undecided: the widest interval is ±1.84 points"),
        ([compared("a", 10, 0.0, noise=0, moved=0.0)], "undecided: no test image changed its class"),
    ],
    ids=["fit", "moved", "ranking", "too-few", "nothing-learned"],
)
def test_the_verdict(found: list[Compared], words: str) -> None:
    """A ranking that changes or 0.1 points are too much; what would not show them decides nothing."""
    assert words in verdict(found, WAYS).splitlines()[-1]
    assert ("a minus b: -0.06" in verdict(found, WAYS)) == (
        words.startswith("bf16 does not") and found[0].difference[0] < 0.1
    )


def test_intervals_are_paired() -> None:
    """The spread over seeds, which both ways share, is no part of a difference's."""
    mean, half = interval(np.array([0.1, 0.3]))
    assert (mean, half) == (pytest.approx(0.2), pytest.approx(12.706 * 0.1, rel=1e-4))
    (row,) = table([compared("a", 90, 0.05, noise=0)], WAYS).splitlines()[2:]
    assert row == "| a | 90.00 | 90.05 | +0.05 [+0.05, +0.05] | 0.22 | 0.22 | 5.0 % | 30.0 % |"


def test_both_ways_start_from_the_weights_made_for_them_and_agree_in_float64() -> None:
    """What is left between two ways in float64 is far below a rounding of fp32; the weights are no random ones."""
    images = random_images(Shape(24, 8, 32, 3), seed=1)
    recipe = make_recipe("resnet18", "random", 8).model_copy(
        update={"epochs": 1, "crop_padding": 2, "statistics": "exact"}
    )
    source = pretrained(recipe, images, CPU, Way("accelerated", usual_execution(CPU), "fp32"))
    assert source.statistics == images.statistics and source.state is not None
    tuned = recipe.model_copy(update={"source": source.name, "seed": 2})
    first = next(tensor for tensor in build_classifier(tuned, images, source).network.parameters())
    assert torch.equal(first, source.state["conv1.weight"])
    losses = {
        float64: [
            train(tuned, images, source, CPU, Way("", how, "fp32", float64)).metrics["train_loss"]
            for how in (PLAIN, usual_execution(CPU))
        ]
        for float64 in (False, True)
    }
    assert losses[False][0] != losses[False][1], "a rounding"
    assert losses[True] == pytest.approx([losses[True][0]] * 2, rel=1e-12)
