"""Steps recorded once and replayed: on the CPU, where a recording is the work done again, and on CUDA as graphs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.attempts import (
    BATCH,
    CPU,
    SUMMED,
    asked_at,
    assert_same_bits,
    attempt,
    dropping,
    few_images,
    short_recipe,
    undisturbed,
    without_times,
)
from tests.training.recorders import Forgetful, Refusing, Repeater
from tracker.study.errors import Stopped
from tracker.training.execution import (
    CUDA_GRAPH,
    CUDNN_BENCHMARK,
    FUSED_OPTIMIZER,
    PLAIN,
    Execution,
    attainable,
)
from tracker.training.graphs import Work, recorder_of
from tracker.training.selfcheck import check_execution
from tracker.training.splits import trial_data
from tracker.training.state import TrialState
from tracker.training.trial import build_classifier, build_optimizer, run_epochs
from tracker.vision.sources import random_source

RECORDED = Execution(frozenset({CUDA_GRAPH}))
ONE_BY_ONE = Execution(frozenset({FUSED_OPTIMIZER}))
"""What is computed without recording: a recorded step needs a fused optimizer."""


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"optimizer": "adam", "weight_decay": 0.01}, 1),
        ({"optimizer": "sgd", "schedule": "constant"}, 2),
        ({"optimizer": "adamw", "tune": "head"}, 1),
    ],
)
def test_recorded_training_is_the_same_bit_for_bit(changes: dict[str, object], parts: int) -> None:
    """Whole and short batches, parts, every optimizer, both schedules, dropout: what is replayed is what was done."""
    recipe, images, recorder = dropping(**changes), few_images(32), Repeater()
    ways = {"micro_batches": parts}
    ours = undisturbed(recipe, images, RECORDED, recorder=recorder, rehearsals=1, **ways)
    assert_same_bits(ours, undisturbed(recipe, images, ONE_BY_ONE, **ways), SUMMED)
    steps, judged = 4 * recipe.epochs, 2 * recipe.epochs
    assert recorder.counts == {"rehearsed": 3, "recorded": 3, "replayed": steps + judged - 3}
    assert (steps, judged) == (12, 6)


def test_a_learning_rate_that_is_a_number_would_be_frozen() -> None:
    """What the test above relies on: its recorder holds the numbers that operations were given, as a graph does."""
    recipe, images = dropping(tune="head"), few_images(32)
    ours, plain = (
        undisturbed(recipe, images, ONE_BY_ONE, recorder=recorder, rehearsals=1)[0] for recorder in (Repeater(), None)
    )
    losses = [[metrics["train_loss"] for metrics in without_times(state)] for state in (ours, plain)]
    assert losses[0][0] == losses[1][0] and losses[0][2] != losses[1][2]


def test_a_step_that_waits_for_the_device_is_not_recorded() -> None:
    """One look at a value is enough, and is named."""
    recipe, images = dropping(epochs=1, tune="head"), few_images(32)
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    classifier.head.register_forward_hook(lambda module, args, out: out if out.max() < 1e9 else None)
    said: list[str] = []
    data, recorder = trial_data(recipe, images, CPU), Repeater()
    next(run_epochs(recipe, classifier, data, CPU, recorder=recorder, rehearsals=1, say=said.append))
    assert recorder.counts["recorded"] == 0 and len(said) == 1
    assert "RuntimeError: operation not permitted when stream is capturing: aten::_local_scalar_dense" in said[0]


LAYOUTS = frozenset({"centre_tap", "running_concatenation", "no_step_counters", "channels_last"})


@pytest.mark.parametrize(
    ("model", "normalization"),
    [
        ("mobilenet_v3_small", "instance"),
        *(
            pytest.param(model, "minmax", marks=pytest.mark.soak)
            for model in ("resnet18", "resnet50", "densenet121", "densenet161", "googlenet")
        ),
    ],
)
def test_nothing_in_a_step_waits_for_the_device(model: str, normalization: str) -> None:
    """Whatever the network, the normalization and the rewrites: all is recorded, with the same bits."""
    size = 224 if model.startswith("vit") else 32
    recipe, images = short_recipe(model, batch_size=BATCH, epochs=2, normalization=normalization), few_images(size)
    said: list[str] = []
    recorded, one_by_one = (Execution(execution.names | LAYOUTS) for execution in (RECORDED, ONE_BY_ONE))
    ours = undisturbed(recipe, images, recorded, recorder=Repeater(), rehearsals=1, say=said.append)
    assert said == []
    assert_same_bits(ours, undisturbed(recipe, images, one_by_one), SUMMED)


def test_stopped_within_each_epoch_a_recorded_trial_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    """Each attempt has new objects and recordings, from files, in the middle of an epoch with dropout."""
    recipe, images = dropping(epochs=2), few_images(32)
    recorder, places = Repeater(), []
    for _ in range(2):
        state, _ = attempt(recipe, images, tmp_path, asked_at(3), RECORDED, recorder=recorder, rehearsals=1)
        places.append((state.position.epoch, state.position.step))
    assert places == [(0, 3), (1, 2)]
    assert recorder.counts["replayed"] > 3
    ours = attempt(recipe, images, tmp_path, execution=RECORDED, recorder=recorder)
    assert_same_bits(ours, undisturbed(recipe, images, ONE_BY_ONE), SUMMED)


@pytest.mark.parametrize(("nth", "what"), [(0, "a step"), (1, "an evaluation"), (2, "a short step")])
def test_what_cannot_be_recorded_is_done_one_by_one(nth: int, what: str) -> None:
    """From that very step on, with the same bits and one notice: nothing of the attempt is left."""
    recipe, images, recorder = dropping(epochs=2, tune="head"), few_images(32), Refusing(nth)
    said: list[str] = []
    ours = undisturbed(recipe, images, RECORDED, recorder=recorder, rehearsals=1, say=said.append)
    assert_same_bits(ours, undisturbed(recipe, images, ONE_BY_ONE), SUMMED)
    reason = "RuntimeError: operation not permitted when stream is capturing"
    assert said == [f"steps are not recorded but done one by one: {reason}"], what
    assert recorder.counts["recorded"] == nth


def test_what_a_failed_recording_made_is_not_kept() -> None:
    """An optimizer that had no memory yet has none afterwards, so that the plain step begins as the first one does."""
    recipe, images = dropping(optimizer="sgd", epochs=1), few_images(32)
    ours = undisturbed(recipe, images, RECORDED, recorder=Refusing(0), rehearsals=0)
    assert_same_bits(ours, undisturbed(recipe, images, ONE_BY_ONE), SUMMED)


def test_recordings_and_gradients_go_with_the_trial() -> None:
    """Also of one that ends early: their memory is wanted by others."""
    recipe, images, recorder = dropping(), few_images(32), Repeater()
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    epochs = run_epochs(
        *(recipe, classifier, trial_data(recipe, images, CPU), CPU, asked_at(5)),
        recorder=recorder,
        rehearsals=1,
        execution=RECORDED,
    )
    next(epochs)
    assert [made() is not None for made in recorder.made] == [True, True]
    with pytest.raises(Stopped):
        next(epochs)
    assert [made() is not None for made in recorder.made] == [False, False]
    assert [weight for weight in classifier.parameters() if weight.grad is not None] == []


def test_recorded_steps_pass_their_check() -> None:
    """A recorder that repeats what it was given agrees with the plain steps, dropout included."""
    recipe, images = dropping(), few_images(32)
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    train = trial_data(recipe, images, CPU).train
    recorder = Repeater()
    assert check_execution(recipe, classifier, train, CPU, RECORDED, recorder) is None
    assert recorder.counts["replayed"] > recorder.counts["recorded"] == 3
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.state_dict().items())


def _every_other(work: Work) -> Work:
    """Do the work every other time only."""
    turns = iter(range(1_000_000))
    return lambda: work() if next(turns) % 2 else None


def _twice(work: Work) -> Work:
    """Do the work twice."""
    return lambda: (work(), work())[0]


@pytest.mark.parametrize("spoil", [_every_other, _twice])
def test_a_recording_that_does_something_else_is_not_used(spoil: type[Work]) -> None:
    """A step left out, or done twice, is more than rounding explains."""
    recipe, images = short_recipe("squeezenet1_1"), few_images(32)
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    train = trial_data(recipe, images, CPU).train
    found = check_execution(recipe, classifier, train, CPU, RECORDED, Forgetful(spoil))
    assert found is not None and found.startswith("its losses differs by")


def test_a_recorder_that_fails_does_not_pass_the_check() -> None:
    """Though training would go on without it: the reason is told, and the plain path taken from the beginning."""
    recipe, images = short_recipe("squeezenet1_1"), few_images(32)
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    train = trial_data(recipe, images, CPU).train
    found = check_execution(recipe, classifier, train, CPU, RECORDED, Refusing(1))
    assert found is not None and "operation not permitted" in found


def test_on_a_cpu_nothing_is_recorded_and_a_notice_says_so() -> None:
    """Asked for there, the other accelerations stay: a crew may have devices of both kinds."""
    assert recorder_of(RECORDED, CPU) is None
    said: list[str] = []
    assert attainable(Execution(frozenset({CUDA_GRAPH, FUSED_OPTIMIZER})), CPU, said.append) == ONE_BY_ONE
    assert said == ["cuda_graph is left out: graphs are recorded on CUDA devices, and this is a CPU"]
    assert attainable(Execution(frozenset({CUDNN_BENCHMARK})), CPU, said.append) == PLAIN
    assert said[1:] == ["cudnn_benchmark is left out: cuDNN is a library of CUDA devices, and this is a CPU"]


def test_a_recorded_step_reads_the_learning_rate_from_a_tensor() -> None:
    """A number would be the first epoch's for ever."""
    recipe, images = dropping(lr=0.5, tune="head"), few_images(32)
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    for name in ("adam", "adamw", "sgd"):
        optimizer = build_optimizer(recipe.model_copy(update={"optimizer": name}), classifier, RECORDED)
        (group,) = optimizer.param_groups
        assert group["fused"] and group["lr"].item() == 0.5
    rate, state = group["lr"], TrialState()
    for _ in run_epochs(
        *(recipe, classifier, trial_data(recipe, images, CPU), CPU), optimizer=optimizer, position=state.position
    ):
        pass
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == pytest.approx(0.5 * 0.25)  # of the last of three epochs
