"""A rewritten network is the network it was, in every bit where the order of sums is the same, else to rounding."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.vision.rewritten import (
    CLASSES,
    DOUBLE,
    FORMATS,
    assert_same,
    furthest,
    gradients,
    images,
    recorded,
    small,
    step,
)
from tracker.vision.models import Classifier, build_network
from tracker.vision.rewrites.centre_tap import FEWEST
from tracker.vision.rewrites.rewriting import REWRITES, Rewrite, rewrite
from tracker.vision.rewrites.running_concatenation import RunningBlock

MODELS = ("resnet18", "resnet50", "densenet121", "densenet161")
LARGE = ("resnet50", "densenet161")


def both(model: str) -> tuple[nn.Module, nn.Module]:
    """Build a model in float64, and it rewritten."""
    network, _ = build_network(model, channels=3, classes=CLASSES, seed=0)
    rewritten = copy.deepcopy(network)
    dense = model.startswith("densenet")
    assert rewrite(rewritten) == [name for name in REWRITES if dense or name != "running_concatenation"]
    return network.double(), rewritten.double()


@pytest.mark.parametrize("model", MODELS)
def test_the_models_compute_the_same(model: str) -> None:
    """One step at 32, where the last maps are one pixel, and the evaluation after it."""
    count = FEWEST if model == "resnet18" else 8  # with maps of four pixels as matrix products, too
    assert_same(*both(model), images(count), steps=1, bound=DOUBLE)


@pytest.mark.parametrize(
    "model", [pytest.param(model, marks=[pytest.mark.soak] if model in LARGE else []) for model in MODELS]
)
def test_the_models_train_the_same(model: str) -> None:
    """Three steps at 32 and at 64, in channels_last format: gradients, weights, running statistics, evaluation."""
    for count, size in ((8, 32), (2, 64)):
        network, rewritten = (each.to(memory_format=torch.channels_last) for each in both(model))
        batch = images(count, height=size, width=size).to(memory_format=torch.channels_last)
        assert_same(network, rewritten, batch, steps=3, bound=DOUBLE)


@pytest.mark.parametrize("name", REWRITES)
@pytest.mark.parametrize("memory_format", FORMATS)
def test_each_rewrite_alone_computes_the_same(name: Rewrite, memory_format: torch.memory_format) -> None:
    """At sizes odd and even, square and not, of one channel too.

    Every bit where nothing is summed in another order: without counters, and with appended maps in
    channels_last format.
    """
    exact = name == "no_step_counters" or (name == "running_concatenation" and memory_format == torch.channels_last)
    for channels, height, width in ((3, 16, 16), (1, 19, 33), (3, 48, 16), (3, 8, 8)):
        network = small(channels).to(memory_format=memory_format)
        rewritten = copy.deepcopy(network)
        assert rewrite(rewritten, [name]) == [name]
        batch = images(FEWEST, channels, height, width).to(memory_format=memory_format)
        assert_same(network, rewritten, batch, steps=3, bound=0 if exact else DOUBLE)


def test_images_in_another_format_than_the_weights() -> None:
    """A network in one format takes images in the other, whose maps then are of either."""
    for weights, batch_format in (FORMATS, FORMATS[::-1]):
        network = small().to(memory_format=weights)
        rewritten = copy.deepcopy(network)
        rewrite(rewritten)
        assert_same(network, rewritten, images(6).to(memory_format=batch_format), steps=2, bound=DOUBLE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_precisions(dtype: torch.dtype) -> None:
    """Every bit in channels_last format but for the centre taps; else as close as a rounding or two."""
    for memory_format in FORMATS:
        network = small().to(dtype).to(memory_format=memory_format).eval()
        batch = images(6).to(dtype).to(memory_format=memory_format)
        rewritten = copy.deepcopy(network)
        rewrite(rewritten)
        with torch.no_grad():
            ours, theirs = rewritten(batch), network(batch)
        assert ours.dtype == dtype
        assert furthest(ours.double(), theirs.double()) <= 16 * torch.finfo(dtype).eps
        rewrite(exact := copy.deepcopy(network), ["running_concatenation", "no_step_counters"])
        network.train(), exact.train()
        assert furthest(step(exact, batch).double(), step(network, batch).double()) <= 64 * torch.finfo(dtype).eps
        if memory_format == torch.channels_last:
            theirs, ours = recorded(network), recorded(exact)
            assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_autocast() -> None:
    """Under autocast maps and gradients have the types they would have, from a stem in float32 too."""
    network = small().float()
    rewritten = copy.deepcopy(network)
    rewrite(rewritten)
    stem = nn.Conv2d(3, 6, 7, stride=2, padding=3)
    for block_input in (torch.float32, torch.bfloat16):
        outputs = []
        for each in (network, rewritten):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                maps = each.features.denseblock1(stem(images().float()).detach().to(block_input).requires_grad_())
            maps.float().square().sum().backward()
            outputs.append((maps.detach(), each.features.denseblock1.denselayer2.conv1.weight.grad))
        for theirs, ours in zip(*outputs, strict=True):
            assert ours.dtype == theirs.dtype
            assert furthest(ours.double(), theirs.double()) < 0.1


@pytest.mark.parametrize("memory_format", FORMATS)
def test_dropout_and_checkpoints_of_a_dense_block(memory_format: torch.memory_format) -> None:
    """With the same seed the same channels' pixels are dropped; a recomputed bottleneck is the same too."""
    for options in ({"drop_rate": 0.4}, {"memory_efficient": True}, {"drop_rate": 0.4, "memory_efficient": True}):
        network = small(**options).to(memory_format=memory_format)
        rewritten = copy.deepcopy(network)
        rewrite(rewritten)
        batch = images(6).to(memory_format=memory_format)
        for _ in range(2):
            torch.manual_seed(1)
            theirs = step(network, batch)
            torch.manual_seed(1)
            assert furthest(step(rewritten, batch), theirs) < DOUBLE
        after = recorded(network)
        assert all(furthest(t, after[name]) < DOUBLE for name, t in recorded(rewritten).items())


def test_a_frozen_backbone_trains_its_head() -> None:
    """In evaluation mode and without gradients below the head, and with BatchNorm learning, as `tune` asks."""
    for tune in ("head", "head+bn"):
        network = small()
        classifier = Classifier(nn.Identity(), network, "classifier", 3)
        classifier.set_trainable(tune)
        rewritten = copy.deepcopy(classifier)
        rewrite(rewritten)
        for each in (classifier, rewritten):
            each.train_mode(tune)
            F.cross_entropy(each(images()), torch.arange(4)).backward()
        ours, theirs = gradients(rewritten), gradients(classifier)
        assert ours.keys() == theirs.keys() and len(theirs) == (2 if tune == "head" else 2 + 2 * 17)
        assert all(furthest(ours[name], theirs[name]) < DOUBLE for name in theirs)


def kept_bytes(network: nn.Module, batch: Tensor) -> int:
    """Return how much memory autograd keeps for backward, parameters included."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = network(batch).sum()
    loss.backward()
    return sum(kept.values())


def test_a_running_buffer_keeps_less() -> None:
    """A block of 16 layers keeps its channels once and not 16 times; in channels_last, not more than before."""
    network = small(block_config=(16,), growth_rate=8, num_init_features=16)
    batch = images(8, height=64, width=64)
    before = kept_bytes(network, batch)
    rewritten = copy.deepcopy(network)
    rewrite(rewritten, ["running_concatenation"])
    assert kept_bytes(rewritten, batch) < 0.7 * before
    for each in (network, rewritten):
        each.to(memory_format=torch.channels_last)
    batch = batch.to(memory_format=torch.channels_last)
    assert kept_bytes(rewritten, batch) <= kept_bytes(network, batch)


def test_what_follows_a_block_may_change_its_output() -> None:
    """Written over in place, even of one image, it changes nothing that the block's backward needs."""
    block = small().features.denseblock1
    rewritten = copy.deepcopy(small())
    rewrite(rewritten)
    grown = rewritten.features.denseblock1
    assert isinstance(grown, RunningBlock)
    for count in (1, 3):
        given = [images(count, 6, 5, 7).requires_grad_() for _ in range(2)]
        for each, maps in zip((block, grown), given, strict=True):
            each(maps).mul_(2).square().sum().backward()
        assert furthest(given[1].grad, given[0].grad) < DOUBLE


def test_counters_stay() -> None:
    """The counter keeps its value and its name; without momentum, where it is read, it counts on."""
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4, momentum=None))
    network(torch.randn(4, 3, 2, 2))
    assert rewrite(network) == ["no_step_counters"]
    network(torch.randn(4, 3, 2, 2))
    assert [int(network[place].num_batches_tracked) for place in (1, 2)] == [1, 2]
    network[1].momentum = None  # as whoever records statistics anew does
    network(torch.randn(4, 3, 2, 2))
    assert int(network[1].num_batches_tracked) == 2
    with pytest.raises(ValueError, match="expected 4D input"):
        network[1](torch.randn(4, 4))
