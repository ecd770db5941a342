"""Accelerations: what they are called, that they change nothing but rounding, and that a trial goes on with them."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.attempts import (
    CPU,
    STEPS,
    asked_at,
    assert_same_bits,
    attempt,
    few_images,
    short_recipe,
    undisturbed,
)
from tracker.study.accelerations import ACCELERATIONS
from tracker.study.errors import UsageError
from tracker.study.recipe import Precision
from tracker.training import selfcheck
from tracker.training.execution import (
    CHANNELS_LAST,
    COMPILE,
    CUDA_GRAPH,
    CUDNN_BENCHMARK,
    FUSED_INPUT,
    FUSED_OPTIMIZER,
    PLAIN,
    Execution,
    parse_execution,
    prepare,
    set_kernel_choice,
    usual_execution,
)
from tracker.training.selfcheck import check_execution, verified, with_usable_input
from tracker.training.splits import trial_data
from tracker.training.store import StateStore
from tracker.training.trial import build_classifier, build_optimizer
from tracker.vision.kernels import indexed, library
from tracker.vision.models import Classifier
from tracker.vision.rewrites.rewriting import REWRITES
from tracker.vision.sources import random_source


@pytest.fixture(scope="module")
def usual() -> Execution:
    """Everything that a CPU is trained with."""
    return usual_execution(CPU)


def test_every_name_is_an_acceleration() -> None:
    """The names that users write are those of the rewrites and of the engine, no more and no less."""
    ours = {CHANNELS_LAST, FUSED_OPTIMIZER, FUSED_INPUT, COMPILE, CUDNN_BENCHMARK, CUDA_GRAPH}
    assert set(ACCELERATIONS) == {*REWRITES, *ours}


def test_cudnn_chooses_by_trial_where_it_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is the process's, so each trial sets it; a CPU has no such library."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    gpu, asked = torch.device("cuda"), Execution(frozenset({CUDNN_BENCHMARK}))
    for device, execution, on in ((CPU, asked, False), (gpu, asked, True), (CPU, PLAIN, True), (gpu, PLAIN, False)):
        set_kernel_choice(device, execution)
        assert torch.backends.cudnn.benchmark is on


def test_an_execution_is_read_and_named() -> None:
    """auto is the device's own, plain is none, names come in one order whatever order they were given in."""
    assert parse_execution("auto", CPU) == usual_execution(CPU)
    assert set(ACCELERATIONS) - usual_execution(CPU).names == {COMPILE, CUDNN_BENCHMARK, CUDA_GRAPH}
    assert parse_execution("auto", torch.device("cuda")) == PLAIN, "nothing was measured on a GPU"
    assert parse_execution("plain", CPU) == PLAIN and str(PLAIN) == "plain"
    assert str(parse_execution("channels_last, centre_tap", CPU)) == "centre_tap, channels_last"
    with pytest.raises(UsageError, match="'channel_last' is not an acceleration") as refused:
        parse_execution("centre_tap,channel_last", CPU)
    assert "channels_last" in str(refused.value.cure)


@pytest.mark.parametrize("optimizer", ["adam", pytest.param("sgd", marks=pytest.mark.soak)])
def test_an_accelerated_trial_goes_on_with_the_same_bits(optimizer: str, tmp_path: Path, usual: Execution) -> None:
    """Stopped after an epoch and inside one: a file knows no memory format, and fused optimizers take it as given."""
    recipe, images = short_recipe(optimizer=optimizer, weight_decay=0.01), few_images(8)
    attempt(recipe, images, tmp_path, asked_at(STEPS), usual)
    attempt(recipe, images, tmp_path, asked_at(2), usual)
    assert_same_bits(attempt(recipe, images, tmp_path, execution=usual), undisturbed(recipe, images, usual))


def test_what_an_optimizer_remembers_lies_as_its_weights_do(tmp_path: Path, usual: Execution) -> None:
    """Also after it was read from a file: with another format torch's fused Adam computes something else."""
    recipe, images = short_recipe(epochs=1), few_images(8)
    attempt(recipe, images, tmp_path, asked_at(2), usual)
    classifier = prepare(build_classifier(recipe, images, random_source(recipe.model)), CPU, usual)
    optimizer = build_optimizer(recipe, classifier, usual)
    assert StateStore(tmp_path, {"model": recipe.model}).load(classifier, optimizer).state is not None
    kernels = [one for one in classifier.trainable() if one.ndim == 4 and not one.is_contiguous()]
    assert len(kernels) > 5
    for kernel in kernels:
        assert optimizer.state[kernel]["exp_avg"].stride() == kernel.stride()


def test_the_first_epoch_is_the_plain_paths_up_to_rounding(usual: Execution) -> None:
    """Losses before and after a step: what differs is rounding, which more steps on few images would amplify."""
    recipe, images = short_recipe(epochs=1, optimizer="sgd", lr=0.01, batch_size=18), few_images(32)
    (plain, _), (fast, _) = undisturbed(recipe, images), undisturbed(recipe, images, usual)
    for name in ("train_loss", "val_loss", "test_loss"):
        assert fast.history[0][1][name] == pytest.approx(plain.history[0][1][name], rel=2e-3)
    assert str(usual) != "plain"


@pytest.mark.parametrize("model", ["resnet18", "densenet121", "mobilenet_v3_small"])
@pytest.mark.parametrize("normalization", ["finetune", "instance"])
def test_the_usual_execution_passes_its_check(model: str, normalization: str, usual: Execution) -> None:
    """On networks with and without each rewrite, dropout among them."""
    recipe, images = short_recipe(model, normalization=normalization), few_images(32)
    classifier = build_classifier(recipe, images, random_source(model))
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    said: list[str] = []
    assert verified(recipe, classifier, trial_data(recipe, images, CPU).train, CPU, usual, said.append) == usual
    assert said == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.state_dict().items())


class _Off(nn.Conv2d):
    """A convolution with a mistake of one part in a thousand."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) * 1.001


class _Broken(nn.Conv2d):
    """A convolution for which there is no kernel."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no kernel for this device\nand a long story")


@pytest.mark.parametrize(
    ("kind", "words"),
    [(_Off, "its output differs by"), (_Broken, "it failed: RuntimeError: no kernel for this device")],
)
def test_an_execution_that_computes_something_else_is_not_used(
    kind: type[nn.Conv2d], words: str, monkeypatch: pytest.MonkeyPatch, usual: Execution
) -> None:
    """The plain path goes on, and the reason is named in a line."""

    def wrongly(twin: Classifier, device: torch.device, execution: Execution, precision: Precision) -> Classifier:
        if execution != PLAIN:
            next(module for module in twin.modules() if isinstance(module, nn.Conv2d)).__class__ = kind
        return prepare(twin, device, execution, precision)

    monkeypatch.setattr(selfcheck, "prepare", wrongly)
    recipe, images = short_recipe("squeezenet1_1"), few_images(32)
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    said: list[str] = []
    assert verified(recipe, classifier, trial_data(recipe, images, CPU).train, CPU, usual, said.append) == PLAIN
    (line,) = said
    assert line.startswith(f"trained by the plain path instead of {usual}: ") and words in line
    assert "\n" not in line


def test_without_a_compiler_only_the_input_is_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other accelerations stay, and the cure is named."""
    monkeypatch.setattr(library, "COMPILERS", ("no-such-compiler",))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv(library.CACHE_VARIABLE, str(tmp_path))
    wanted = usual_execution(CPU)
    recipe, images = short_recipe(), few_images(8)
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    said: list[str] = []
    train = trial_data(recipe, images, CPU).train
    found = with_usable_input(recipe, classifier, train, wanted, said.append)
    assert found == wanted.without(FUSED_INPUT)
    assert verified(recipe, classifier, train, CPU, found, said.append) == found
    assert len(said) == 1 and "no C compiler" in said[0] and "apt-get install gcc" in said[0]


def test_the_check_finds_nothing_to_compare_in_the_plain_path() -> None:
    """It costs nothing where nothing is accelerated."""
    recipe, images = short_recipe(), few_images(8)
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    assert check_execution(recipe, classifier, trial_data(recipe, images, CPU).train, CPU, PLAIN) is None


def test_a_compiled_network_keeps_its_names_and_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints know nothing of it, a copy is not compiled, and code is kept in the cache folder."""
    monkeypatch.setenv(library.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    recipe, images = short_recipe(), few_images(8)
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    names = list(classifier.state_dict())
    prepare(classifier, CPU, Execution(frozenset({COMPILE})))
    assert classifier.network._compiled_call_impl is not None
    assert copy.deepcopy(classifier).network._compiled_call_impl is None
    assert list(classifier.state_dict()) == names
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "inductor")


def test_a_network_that_torch_does_not_compile_any_more_fails_its_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its limit torch goes on eagerly, and would be found to compute what eager execution computes."""
    monkeypatch.setattr(indexed, "VARIANTS", 0)
    recipe, images = short_recipe("squeezenet1_1"), few_images(32)
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    train = trial_data(recipe, images, CPU).train
    with torch._dynamo.config.patch(recompile_limit=0):
        found = check_execution(recipe, classifier, train, CPU, Execution(frozenset({COMPILE})))
        assert not torch._dynamo.config.fail_on_recompile_limit_hit, "a trial goes on eagerly"
    assert found is not None and found.startswith("it is not compiled: torch has reached its limit of variants")


def test_torch_compiles_as_many_variants_as_a_grid_has() -> None:
    """Its own limits are those of one network; one `forward` serves all ResNets of a worker."""
    with torch._dynamo.config.patch(recompile_limit=8, accumulated_recompile_limit=256):
        indexed.keep_compiling()
        limits = torch._dynamo.config
        assert min(limits.recompile_limit, limits.accumulated_recompile_limit) >= indexed.VARIANTS > 10_000


@pytest.mark.soak
def test_a_compiled_network_trains_as_the_plain_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole and short batches, and evaluation, pass their check; what was compiled is kept on disk."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    recipe, images = short_recipe("squeezenet1_1"), few_images(32)
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    compiled = Execution(frozenset({COMPILE, CHANNELS_LAST}))
    said: list[str] = []
    train = trial_data(recipe, images, CPU).train
    assert verified(recipe, classifier, train, CPU, compiled, said.append) == compiled, said
    assert len(list(tmp_path.rglob("*.so"))) >= 3, "a whole batch, a short one, and an evaluation's"
