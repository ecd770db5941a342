"""CUDA graphs train as the steps that they record, done one by one."""

from __future__ import annotations

import pytest
import torch

from tests.training.attempts import BATCH, SUMMED, asked_at, dropping, few_images, short_recipe
from tracker.study.errors import Stopped
from tracker.training.execution import CUDA_GRAPH, FUSED_OPTIMIZER, Execution, prepare
from tracker.training.graphs import recorder_of
from tracker.training.selfcheck import verified
from tracker.training.splits import trial_data
from tracker.training.state import TrialState
from tracker.training.trial import build_classifier, build_optimizer, run_epochs
from tracker.vision.sources import random_source

RECORDED = Execution(frozenset({CUDA_GRAPH}))

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("model", ["resnet18", "mobilenet_v3_small"])
def test_graphs_train_as_the_same_steps_done_one_by_one(model: str, optimizer: str) -> None:
    """Same kernels in the same order, dropout's numbers too: losses agree, with kernels that give the same bits."""
    device = torch.device("cuda", 0)
    recipe, images = short_recipe(model, batch_size=BATCH, optimizer=optimizer, lr=1e-3), few_images(32)
    histories = []
    for graphs in (False, True):
        classifier = prepare(build_classifier(recipe, images, random_source(model)), device, RECORDED)
        said: list[str] = []
        epochs = run_epochs(
            *(recipe, classifier, trial_data(recipe, images, device), device),
            optimizer=build_optimizer(recipe, classifier, RECORDED),
            recorder=recorder_of(RECORDED, device) if graphs else None,
            rehearsals=1,
            say=said.append,
        )
        histories.append([[result.metrics[name] for name in ("train_loss", *SUMMED)] for result in epochs])
        assert said == []
    assert histories[1] == [pytest.approx(metrics, rel=1e-3) for metrics in histories[0]]


@pytest.mark.parametrize("model", ["resnet18", "densenet121", "mobilenet_v3_small"])
def test_graphs_pass_their_check(model: str) -> None:
    """With all that goes with them on a GPU."""
    device = torch.device("cuda", 0)
    recipe, images = short_recipe(model), few_images(32)
    classifier = build_classifier(recipe, images, random_source(model))
    wanted = Execution(frozenset({CUDA_GRAPH, FUSED_OPTIMIZER, "channels_last", "running_concatenation", "centre_tap"}))
    said: list[str] = []
    train = trial_data(recipe, images, device).train
    assert verified(recipe, classifier, train, device, wanted, said.append) == wanted, said


@pytest.mark.usefixtures("deterministic")
def test_a_trial_with_graphs_and_dropout_goes_on_in_the_middle_of_an_epoch() -> None:
    """The generator's place after replays is the one that steps done by the host would leave."""
    device = torch.device("cuda", 0)
    recipe, images = dropping(epochs=2), few_images(32)
    losses = []
    for stops in (False, True):
        classifier, state = build_classifier(recipe, images, random_source(recipe.model)), TrialState()
        prepare(classifier, device, RECORDED)
        learner, data = build_optimizer(recipe, classifier, RECORDED), trial_data(recipe, images, device)
        found: list[float] = []
        while state.position.epoch < recipe.epochs:
            stop = asked_at(3) if stops else (lambda: False)
            epochs = run_epochs(
                *(recipe, classifier, data, device, stop),
                optimizer=learner,
                position=state.position,
                execution=RECORDED,
                rehearsals=1,
            )
            try:
                found += [result.metrics["train_loss"] for result in epochs]
            except Stopped:
                continue
        losses.append(found)
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
