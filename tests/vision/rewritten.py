"""Small networks, a step of training, and what the same means: shared by the tests of the rewrites."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import DenseNet

CLASSES = 5
DOUBLE = 1e-8
"""Of each tensor, relative to its largest value, after up to three steps. A sum in another order is 1e-16 off, which
the BatchNorms of 161 layers, over 8 values where a map is one pixel, make 4e-10: measured, at most. The plain network
moves as far, or 50 times as far, when its pixels change by one unit in the last place."""
FORMATS = (torch.contiguous_format, torch.channels_last)


def images(count: int = 4, channels: int = 3, height: int = 32, width: int = 32) -> Tensor:
    """Make random images, seed 0, in float64."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, channels, height, width, generator=generator, dtype=torch.float64)


def small(channels: int = 3, **options: object) -> nn.Module:
    """Make a DenseNet of two blocks, seed 0, in float64: its second block's maps are a sixteenth of the image."""
    torch.manual_seed(0)
    network = DenseNet(**{"growth_rate": 3, "block_config": (3, 4), "num_init_features": 6, "bn_size": 2, **options})
    network.classifier = nn.Linear(network.classifier.in_features, CLASSES)
    if channels != 3:
        network.features.conv0 = nn.Conv2d(channels, 6, 7, stride=2, padding=3, bias=False)
    return network.double()


def step(network: nn.Module, batch: Tensor, rate: float = 1e-4) -> Tensor:
    """Train on one batch by gradient descent; return the logits before."""
    network.zero_grad()
    logits: Tensor = network(batch)
    F.cross_entropy(logits, torch.arange(len(batch)) % CLASSES).backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter -= rate * parameter.grad
    return logits.detach()


def furthest(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference, relative to the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-300))


def gradients(network: nn.Module) -> dict[str, Tensor]:
    """Return every parameter's gradient."""
    return {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}


def recorded(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's tensors but the counters."""
    return {name: t for name, t in network.state_dict().items() if not name.endswith("num_batches_tracked")}


def assert_same(network: nn.Module, rewritten: nn.Module, batch: Tensor, *, steps: int, bound: float) -> None:
    """Train both and compare logits, gradients, weights and running statistics; then evaluate. Bound 0: every bit."""
    for _ in range(steps):
        assert furthest(step(rewritten, batch), step(network, batch)) <= bound
        ours, theirs = gradients(rewritten), gradients(network)
        assert ours.keys() == theirs.keys() and len(ours) == len(list(network.parameters()))
        for name, gradient in theirs.items():
            assert furthest(ours[name], gradient) <= bound, name
            assert ours[name].stride() == gradient.stride(), name  # fused optimizers want the parameter's
    theirs = recorded(network)
    for name, tensor in recorded(rewritten).items():
        assert furthest(tensor, theirs[name]) <= bound, name
    network.eval(), rewritten.eval()
    with torch.inference_mode():
        assert furthest(rewritten(batch), network(batch)) <= bound
