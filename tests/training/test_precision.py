"""Precision: what is computed in bfloat16 and what stays fp32, with the same bits each time, and told apart."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.training.attempts import (
    CPU,
    STEPS,
    asked_at,
    assert_same_bits,
    attempt,
    few_images,
    short_recipe,
    undisturbed,
    without_times,
)
from tests.training.small_network import small_network
from tracker.study.recipe import NORMALIZATIONS, Precision, Recipe
from tracker.training import selfcheck
from tracker.training.evaluate import evaluate
from tracker.training.execution import PLAIN, Execution, prepare, usual_execution
from tracker.training.selfcheck import check_execution, verified
from tracker.training.splits import trial_data
from tracker.training.trial import build_classifier, build_optimizer, run_epochs
from tracker.vision.models import Classifier
from tracker.vision.normalizations import MinMax
from tracker.vision.rewrites.rewriting import undo
from tracker.vision.sources import Source, random_source
from tracker.vision.stem import stem_norm

USUAL = usual_execution(CPU)
BF16 = torch.bfloat16


def classifier_of(recipe: Recipe, size: int = 32) -> Classifier:
    """Build a classifier as a trial does; `pretrain` takes the statistics of a source of noise."""
    images = few_images(size)
    start = random_source(recipe.model)
    return build_classifier(recipe, images, Source(start.name, recipe.model, None, images.statistics, None, "random"))


def train_a_step(classifier: Classifier, recipe: Recipe, execution: Execution = USUAL) -> torch.optim.Optimizer:
    """Take one step on twelve images."""
    optimizer = build_optimizer(recipe, classifier, execution)
    classifier.train_mode(recipe.tune)
    inputs, labels = a_batch(classifier)
    F.cross_entropy(classifier.network(inputs), labels).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return optimizer


def a_batch(classifier: Classifier) -> tuple[Tensor, Tensor]:
    """Return the network's input of twelve images, float32, and their labels."""
    train = few_images(32).train
    return classifier.normalized(torch.from_numpy(train.images[:12])), torch.from_numpy(train.labels[:12])


@pytest.mark.parametrize("model", ["resnet18", "densenet121", "squeezenet1_1"])
def test_what_is_bfloat16_and_what_is_not(model: str) -> None:
    """First layer, head, weights, gradients, statistics and the optimizer are fp32; what lies between is not."""
    recipe = short_recipe(model)
    classifier = prepare(classifier_of(recipe), CPU, USUAL, "bf16")
    seen: dict[str, torch.dtype] = {}
    layers = {name: layer for name, layer in classifier.network.named_modules() if isinstance(layer, nn.Conv2d)}
    layers[classifier.head_name] = classifier.head  # type: ignore[assignment]
    for name, layer in layers.items():
        layer.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output.dtype}))
    optimizer = train_a_step(classifier, recipe)
    first = next(iter(layers))
    assert {name for name, dtype in seen.items() if dtype == torch.float32} == {first, classifier.head_name}
    inner = [name for name, dtype in seen.items() if dtype == BF16]
    assert len(inner) >= {"resnet18": 19, "densenet121": 58, "squeezenet1_1": 24}[model]
    kept = [*classifier.state_dict().values(), *(one.grad for one in classifier.trainable() if one.grad is not None)]
    kept += [value for state in optimizer.state.values() for value in state.values()]
    assert len(kept) > 100
    assert {one.dtype for one in kept} <= {torch.float32, torch.int64}


@pytest.mark.parametrize("normalization", list(NORMALIZATIONS))
def test_nothing_is_rounded_before_the_first_batchnorm(normalization: str) -> None:
    """minmax images have an offset that would cost bits: the first layer's output is fp32's, to the bit."""
    recipe = short_recipe("mobilenet_v3_small", normalization=normalization)
    outputs: dict[Precision, list[Tensor]] = {"fp32": [], "bf16": []}
    for precision, seen in outputs.items():
        classifier = prepare(classifier_of(recipe), CPU, PLAIN, precision)
        norm = stem_norm(classifier.network)
        assert norm is not None
        norm.register_forward_hook(lambda _, inputs, output, seen=seen: seen.extend([inputs[0], output.clone()]))
        classifier.train_mode(recipe.tune)
        with torch.no_grad():
            classifier.network(a_batch(classifier)[0][:2])
    (stem, normed), (stem_too, normed_too) = outputs["fp32"], outputs["bf16"]
    assert torch.equal(stem, stem_too) and stem_too.dtype == torch.float32
    assert torch.equal(normed.bfloat16(), normed_too)


def test_gradients_are_fp32s_up_to_rounding() -> None:
    """Of a network that does not amplify it: off by about a rounding of bfloat16, and by no less than a tenth."""
    recipe = short_recipe()
    plain, rounded = small_network(), prepare(small_network(), CPU, PLAIN, "bf16")
    for classifier in (plain, rounded):
        train_a_step(classifier, recipe, PLAIN)
    for one, other in zip(plain.trainable(), rounded.trainable(), strict=True):
        assert one.grad is not None and other.grad is not None
        assert float((one.grad - other.grad).norm() / one.grad.norm()) < 8 * 2**-8
    distance = math.hypot(*(float((a - b).norm()) for a, b in zip(grads(plain), grads(rounded), strict=True)))
    assert distance > 0.1 * 2**-8 * math.hypot(*(float(one.norm()) for one in grads(plain)))


def grads(classifier: Classifier) -> list[Tensor]:
    """Return the gradients of all that learns."""
    return [one.grad for one in classifier.trainable() if one.grad is not None]


@pytest.mark.parametrize("tune", ["full", "head", "head+bn"])
def test_evaluation_is_fp32(tune: str) -> None:
    """Also after training in bf16, of a whole network or its head: what the weights say, as everybody else reads them.

    In training a frozen backbone computes in bfloat16 too, though it is in evaluation mode.
    """
    recipe = short_recipe("mobilenet_v3_small", tune=tune, precision="bf16")
    classifier = prepare(classifier_of(recipe), CPU, USUAL, recipe.precision)
    given: list[torch.dtype] = []
    classifier.head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].dtype))
    train_a_step(classifier, recipe)
    assert given == [BF16]
    other = prepare(classifier_of(recipe), CPU, USUAL)
    other.load_state_dict(classifier.state_dict())
    test = trial_data(recipe, few_images(32), CPU).test
    found, expected = evaluate(classifier, test), evaluate(other, test)
    assert found.loss == expected.loss and torch.equal(found.predictions, expected.predictions)
    assert given[1:] == [torch.float32]


def test_a_copy_computes_the_same_and_names_stay() -> None:
    """A copy stands alone, tensors keep their names and values, and rewrites are switched off without the precision."""
    recipe = short_recipe()
    before = classifier_of(recipe)
    classifier = prepare(copy.deepcopy(before), CPU, USUAL, "bf16")
    assert [*classifier.state_dict()] == [*before.state_dict()]
    assert all(torch.equal(tensor, before.state_dict()[name]) for name, tensor in classifier.state_dict().items())
    twin = copy.deepcopy(classifier)
    undo(twin.network)
    for one in (classifier, twin):
        one.train_mode(recipe.tune)
    inputs, _ = a_batch(classifier)
    logits = classifier.network(inputs)
    assert logits.dtype == torch.float32
    assert float((twin.network(inputs) - logits).detach().norm() / logits.detach().norm()) < 0.2
    with torch.no_grad():
        next(twin.parameters()).zero_()
    assert float(next(classifier.parameters()).detach().abs().max()) > 0


def test_a_network_without_convolutions() -> None:
    """The first linear layer sees the images; one that is the head as well leaves nothing to round."""
    for network, head, rounded in (
        (nn.Sequential(nn.Flatten(), nn.Linear(1024, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 3)), "4", True),
        (nn.Sequential(nn.Flatten(), nn.Linear(1024, 3)), "1", False),
    ):
        plain = Classifier(MinMax(), network, head, channels=1)
        classifier = prepare(copy.deepcopy(plain), CPU, PLAIN, "bf16")
        inputs, _ = a_batch(classifier)
        assert torch.equal(plain.train().network(inputs), classifier.train().network(inputs)) is not rounded


def test_a_bf16_trial_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    """Stopped inside an epoch, as in fp32; and it is not the fp32 trial."""
    recipe, images = short_recipe("shufflenet_v2_x0_5", precision="bf16", epochs=1), few_images(8)
    attempt(recipe, images, tmp_path, asked_at(2), USUAL)
    whole = undisturbed(recipe, images, USUAL)
    assert_same_bits(attempt(recipe, images, tmp_path, execution=USUAL), whole)
    fp32 = undisturbed(recipe.model_copy(update={"precision": "fp32"}), images, USUAL)
    rounded, exact = (without_times(state)[0]["train_loss"] for state, _ in (whole, fp32))
    assert rounded != exact and rounded == pytest.approx(exact, rel=0.1)


@pytest.mark.soak
@pytest.mark.parametrize("execution", [USUAL, PLAIN], ids=str)
def test_two_threads_give_the_same_bits_each_time(execution: Execution, tmp_path: Path) -> None:
    """Stopped after an epoch and inside one, on the slow plain path too."""
    torch.set_num_threads(2)
    recipe, images = short_recipe(precision="bf16", epochs=2), few_images(8)
    attempt(recipe, images, tmp_path, asked_at(STEPS), execution)
    attempt(recipe, images, tmp_path, asked_at(2), execution)
    assert_same_bits(attempt(recipe, images, tmp_path, execution=execution), undisturbed(recipe, images, execution))


def test_parts_of_a_batch_give_its_gradient() -> None:
    """On a frozen backbone, where BatchNorm does not see the parts, the head learns the same up to rounding."""
    recipe, images = short_recipe("mobilenet_v3_small", precision="bf16", tune="head", epochs=1, lr=1e-5), few_images(8)
    heads = []
    for parts in (1, 3):
        classifier = prepare(build_classifier(recipe, images, random_source(recipe.model)), CPU, USUAL, "bf16")
        before = next(classifier.head.parameters()).detach().clone()
        list(run_epochs(recipe, classifier, trial_data(recipe, images, CPU), CPU, micro_batches=parts, execution=USUAL))
        heads.append(next(classifier.head.parameters()).detach() - before)
    assert float((heads[0] - heads[1]).norm() / heads[0].norm()) < 0.1
    assert float(heads[0].norm()) > 0


class _OffInBfloat16(nn.Conv2d):
    """A convolution with a mistake that shows in one format only, as a kernel's may."""

    def forward(self, input: Tensor) -> Tensor:
        output = super().forward(input)
        return output * 0.5 if output.dtype == BF16 else output


class _OffByAThousandth(nn.Conv2d):
    """A convolution with a mistake that bfloat16 would hide."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 1.001


def test_the_usual_execution_passes_its_check_in_bf16() -> None:
    """It is held against the plain path in bfloat16."""
    recipe = short_recipe("shufflenet_v2_x0_5", precision="bf16")
    said: list[str] = []
    train = trial_data(recipe, few_images(8), CPU).train
    assert verified(recipe, classifier_of(recipe, 8), train, CPU, USUAL, said.append) == USUAL
    assert said == []


@pytest.mark.parametrize(
    ("kind", "words"), [(_OffInBfloat16, f"{USUAL}: its "), (_OffByAThousandth, f"{USUAL}: in fp32 its ")]
)
def test_what_is_wrong_in_one_precision_is_found(
    kind: type[nn.Conv2d], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gross fault of bfloat16's kernels in bfloat16, a small one in fp32; the message says where."""

    def wrongly(twin: Classifier, device: torch.device, execution: Execution, precision: Precision) -> Classifier:
        if execution != PLAIN:
            twin.network.features[3].squeeze.__class__ = kind  # type: ignore[index, union-attr]
        return prepare(twin, device, execution, precision)

    monkeypatch.setattr(selfcheck, "prepare", wrongly)
    recipe = short_recipe("squeezenet1_1", precision="bf16")
    said: list[str] = []
    train = trial_data(recipe, few_images(20), CPU).train
    assert verified(recipe, classifier_of(recipe, 20), train, CPU, USUAL, said.append) == PLAIN
    assert words in said[0] and "differs by" in said[0]
    if kind is _OffByAThousandth:
        assert check_execution(recipe, classifier_of(recipe, 20), train, CPU, USUAL) is None, "bfloat16 hides it"
