"""Rewrites are switched in place, and all that is done with networks besides training goes on."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.vision.rewritten import DOUBLE, assert_same, furthest, images, small
from tracker.study.errors import UsageError
from tracker.vision.folding import fold_normalization
from tracker.vision.models import Classifier
from tracker.vision.normalizations import ZScore
from tracker.vision.rewrites.centre_tap import FEWEST, CentreTapConv2d
from tracker.vision.rewrites.rewriting import REWRITES, plain, rewrite, undo
from tracker.vision.rewrites.running_concatenation import RunningBlock
from tracker.vision.rewrites.step_counters import UncountedBatchNorm2d
from tracker.vision.statistics import PUBLISHED


def test_on_and_off() -> None:
    """Each is switched by itself, twice is once, and what is off is torch's own class again."""
    network = small()
    classes = [type(module) for module in network.modules()]
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert rewrite(network, ["no_step_counters"]) == ["no_step_counters"]
    assert not any(isinstance(module, CentreTapConv2d | RunningBlock) for module in network.modules())
    assert rewrite(network, []) == []
    assert rewrite(network) == rewrite(network) == list(REWRITES)
    on = [type(module) for module in network.modules()]
    assert {CentreTapConv2d, RunningBlock, UncountedBatchNorm2d} <= set(on)
    with pytest.raises(ZeroDivisionError), plain(network):
        assert [type(module) for module in network.modules()] == classes
        raise ZeroDivisionError
    assert [type(module) for module in network.modules()] == on
    undo(network, ["running_concatenation"])
    assert not any(isinstance(module, RunningBlock) for module in network.modules())
    assert any(isinstance(module, CentreTapConv2d) for module in network.modules())
    undo(network)
    assert [type(module) for module in network.modules()] == classes
    state = network.state_dict()
    assert state.keys() == tensors.keys() and all(torch.equal(state[name], tensors[name]) for name in tensors)


def test_unknown_names_are_refused() -> None:
    """The message lists what there is, and nothing was changed."""
    network = small()
    for switch in (rewrite, undo):
        with pytest.raises(UsageError, match=r"'faster' is not a rewrite\n +accepted: centre_tap, running_conc"):
            switch(network, ["centre_tap", "faster"])  # type: ignore[list-item]
    assert not any(isinstance(module, CentreTapConv2d) for module in network.modules())


def test_changed_networks_are_left_alone() -> None:
    """A block with a layer of another kind, and modules of derived classes, keep their own ways."""

    class Own(nn.Conv2d):
        pass

    network = small()
    network.features.denseblock2.denselayer1.norm1 = nn.GroupNorm(
        1, network.features.denseblock2.denselayer1.norm1.num_features
    )
    network.features.denseblock1.denselayer1.conv2 = Own(6, 3, 3, padding=1, bias=False)
    before = copy.deepcopy(network.double())
    rewrite(network)
    assert isinstance(network.features.denseblock1, RunningBlock)
    assert not isinstance(network.features.denseblock2, RunningBlock)
    assert type(network.features.denseblock1.denselayer1.conv2) is Own
    assert type(network.features.conv0) is nn.Conv2d, "the first convolution sees images"
    assert_same(before, network, images(), steps=1, bound=DOUBLE)


def test_checkpoints_copies_and_folds(tmp_path: Path) -> None:
    """A rewritten network saves what another loads, is copied rewritten, and folds as before."""
    network = small()
    rewrite(network)
    network.train()(images())
    save_file(network.state_dict(), tmp_path / "rewritten.safetensors")
    other = small()
    other.load_state_dict(load_file(tmp_path / "rewritten.safetensors"))
    copied = copy.deepcopy(network)
    assert [type(module) for module in copied.modules()] == [type(module) for module in network.modules()]
    assert copied.features.norm5.weight is not network.features.norm5.weight
    raw = (images() * 50 + 128).clamp(0, 255).byte()
    classifiers = [Classifier(ZScore(PUBLISHED["imagenet"]), each.eval(), "classifier", 3) for each in (network, other)]
    with torch.no_grad():
        ours, theirs = (fold_normalization(each.double())(raw.float().div(255).double()) for each in classifiers)
    assert furthest(ours, theirs) < DOUBLE


def concatenates_one(node: torch.fx.Node) -> bool:
    """Say whether a step is a concatenation of one tensor, which torchvision does at the start of a block."""
    return node.target is torch.ops.aten.cat.default and len(node.args[0]) == 1


def test_exported_programs_are_torchvisions() -> None:
    """An export of a rewritten network has the plain one's steps, and takes other batches and sizes."""
    network = small(block_config=(2, 2)).eval()
    programs = []
    for change in (undo, rewrite):
        change(network)
        sizes = {0: torch.export.Dim("n", min=2), 2: torch.export.Dim("h", min=16), 3: torch.export.Dim("w", min=16)}
        programs.append(torch.export.export(network, (images(2, height=32, width=32),), dynamic_shapes=(sizes,)))
    steps = [
        [(node.op, str(node.target)) for node in program.graph.nodes if not concatenates_one(node)]
        for program in programs
    ]
    assert steps[0] == steps[1] and len(steps[0]) > 30
    with torch.no_grad():
        batch = images(5, height=24, width=40)
        assert furthest(programs[1].module()(batch), network(batch)) < DOUBLE


@pytest.mark.soak  # a compiler's seconds
def test_compiled_networks_compute_the_same() -> None:
    """Dynamo takes a rewritten network in one graph, trained and judged, with maps of four pixels and of one."""
    network = small(block_config=(2, 2))
    rewritten = copy.deepcopy(network)
    rewrite(rewritten)
    rewritten.compile(backend="aot_eager", fullgraph=True)
    assert_same(network, rewritten, images(FEWEST, height=8, width=8), steps=1, bound=DOUBLE)
