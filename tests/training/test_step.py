"""One optimizer step: a batch in parts, and what an error leaves behind."""

from __future__ import annotations

import weakref
from collections import Counter
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from tests.training.attempts import CPU, few_images, short_recipe
from tracker.study import faults
from tracker.training.splits import trial_data
from tracker.training.step import parts
from tracker.training.trial import EpochResult, build_classifier, build_optimizer, run_epochs
from tracker.vision.models import Classifier
from tracker.vision.sources import random_source


def one_epoch(micro_batches: int, batch_size: int = 6, **changes: object) -> tuple[list[int], Classifier, EpochResult]:
    """Train for an epoch; return how many images each pass through the network had, and what came out."""
    recipe, images = short_recipe(epochs=1, batch_size=batch_size, **changes), few_images(8)
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    sizes: list[int] = []
    hook = classifier.head.register_forward_hook(lambda head, args, out: sizes.append(len(out)))
    epochs = run_epochs(recipe, classifier, trial_data(recipe, images, CPU), CPU, micro_batches=micro_batches)
    result = next(epochs)
    hook.remove()
    return sizes[:-2], classifier, result  # the last two are validation and test


@pytest.mark.parametrize("count", range(1, 20))
@pytest.mark.parametrize("micro_batches", [1, 2, 3, 7, 100])
def test_parts_are_the_batch_nearly_equal_and_never_of_one_image(count: int, micro_batches: int) -> None:
    """Every image is in one part, in order; BatchNorm gets two images at least where the batch has two."""
    found = list(parts(count, micro_batches))
    assert [place for first, size in found for place in range(first, first + size)] == list(range(count))
    sizes = {size for _, size in found}
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(2, count)
    assert len(found) == max(1, min(micro_batches, count // 2))


def test_with_a_frozen_backbone_parts_change_a_result_by_rounding_only() -> None:
    """The gradients of the parts add up to the batch's: weights, loss and accuracy agree."""
    sizes, classifier, result = one_epoch(4, batch_size=10, tune="head")
    assert sizes == [2, 3, 2, 3, 2, 2, 2, 2]
    whole_sizes, whole, whole_result = one_epoch(1, batch_size=10, tune="head")
    assert whole_sizes == [10, 8]
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(classifier.state_dict()[name], tensor, rtol=1e-4, atol=1e-6, msg=name)
    assert result.metrics["train_loss"] == pytest.approx(whole_result.metrics["train_loss"], rel=1e-5)
    assert result.metrics["train_acc"] == whole_result.metrics["train_acc"]


def test_in_parts_batchnorm_sees_the_parts() -> None:
    """What the documentation warns of: fully tuned, parts count as batches for BatchNorm, not for the optimizer."""
    sizes, classifier, _ = one_epoch(3)
    assert sizes == [2] * 9
    counted = [tensor for name, tensor in classifier.state_dict().items() if name.endswith("num_batches_tracked")]
    assert {int(tensor) for tensor in counted} == {9}


class Remembering(nn.ReLU):
    """Knows what it gave, without keeping it; has no room for the tenth."""

    given: ClassVar[list[weakref.ref[Tensor]]] = []

    def forward(self, images: Tensor) -> Tensor:
        """Return the positive part."""
        out = super().forward(images)
        self.given.append(weakref.ref(out))
        if len(self.given) == 10:
            raise torch.OutOfMemoryError("no room")
        return out


def test_an_error_leaves_no_room_taken() -> None:
    """After out-of-memory neither the error, held on to, nor the weights keep anything of the step alive."""
    recipe, images = short_recipe("squeezenet1_1"), few_images(32)
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    for name, module in list(classifier.named_modules()):
        if isinstance(module, nn.ReLU):
            classifier.set_submodule(name, Remembering())
    for weight in classifier.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer = build_optimizer(recipe, classifier)
    epochs = run_epochs(recipe, classifier, trial_data(recipe, images, CPU), CPU, optimizer=optimizer)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        next(epochs)
    assert len(Remembering.given) == 10
    assert [reference for reference in Remembering.given if reference() is not None] == []
    assert [name for name, weight in classifier.named_parameters() if weight.grad is not None] == []
    assert caught.value.__traceback__ is not None


def test_a_fault_after_the_second_step_comes_after_two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The point `stepped` lies behind the optimizer's step."""
    monkeypatch.setattr(faults, "_reached", Counter())
    monkeypatch.setenv(faults.VARIABLE, "stepped=error@2")
    recipe, images = short_recipe("mobilenet_v3_small"), few_images(32)
    classifier = build_classifier(recipe, images, random_source(recipe.model))
    optimizer = build_optimizer(recipe, classifier)
    with pytest.raises(RuntimeError, match="injected at stepped"):
        next(run_epochs(recipe, classifier, trial_data(recipe, images, CPU), CPU, optimizer=optimizer))
    assert {int(entries["step"]) for entries in optimizer.state_dict()["state"].values()} == {2}
