"""Trials that are trained as branches of one step: each ends where it ends alone."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from benchmarks.branches import Branches
from tests.training.recorders import Repeater
from tracker.bench.subject import make_recipe
from tracker.study.recipe import NORMALIZATIONS
from tracker.training.execution import CUDA_GRAPH, FUSED_OPTIMIZER, PLAIN, Execution, prepare
from tracker.training.splits import trial_data
from tracker.training.trial import build_classifier, build_optimizer, run_epochs
from tracker.vision.stand_ins import Shape, random_images, stand_in

CPU = torch.device("cpu")
IMAGES = random_images(Shape(24, 8, 32, 3), seed=1)
RECIPES = [
    make_recipe("squeezenet1_1", "random", 8).model_copy(
        update={"normalization": name, "statistics": "exact", "epochs": 2, "tune": "head", "lr": 1e-3}
    )
    for name in NORMALIZATIONS
]


@pytest.mark.parametrize("recorded", [False, True])
def test_each_branch_ends_with_the_bits_it_has_alone(recorded: bool) -> None:
    """Though its batches are gathered once for all, and its steps recorded together with the others'."""
    recorder = Repeater() if recorded else None
    execution = Execution(frozenset({CUDA_GRAPH})) if recorded else PLAIN
    branches = Branches(RECIPES, IMAGES, CPU, execution, recorder=recorder, rehearsals=1)
    *_, judged = branches.epochs()
    for recipe, member, evaluation in zip(RECIPES, branches.members, judged, strict=True):
        classifier = build_classifier(recipe, IMAGES, stand_in(recipe, IMAGES))
        alone = Execution(frozenset({FUSED_OPTIMIZER})) if recorded else PLAIN
        prepare(classifier, CPU, alone)
        optimizer = build_optimizer(recipe, classifier, alone)
        *_, last = run_epochs(
            recipe, classifier, trial_data(recipe, IMAGES, CPU), CPU, optimizer=optimizer, execution=alone
        )
        state = member.classifier.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in classifier.state_dict().items())
        assert torch.equal(evaluation.predictions, last.predictions)
        assert evaluation.accuracy == last.metrics["test_acc"]
    if recorder is not None:
        assert recorder.counts["recorded"] == 1 + len(RECIPES), "one step for all, and each one's judging"
        assert recorder.counts["replayed"] == 5 + len(RECIPES)


@pytest.mark.soak
def test_the_ways_of_sharing_a_device_are_measured_side_by_side() -> None:
    """One line a way, and numbers that were not zero."""
    words = ["--model", "squeezenet1_1", "--batches", "1", "--epochs", "1", "--times", "1", "--seconds", "0.1"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.together", *words], capture_output=True, text=True, timeout=300, check=True
    )
    rows = [line.split(" | ") for line in done.stdout.splitlines()[5:]]
    assert [row[0].strip("| ") for row in rows] == ["one trial", "processes", "threads", "branches"]
    assert all(int(row[1].split()[0].replace(",", "")) > 0 for row in rows)
