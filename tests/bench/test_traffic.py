"""The least that a step moves, counted as the module's docstring says."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tracker.bench.subject import make_recipe
from tracker.bench.traffic import count_traffic, step_traffic


class Residual(nn.Module):
    """Adds its input to what a convolution makes of it, and joins both."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.second = nn.Conv2d(4, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 8, H, W)."""
        before = self.first(images)
        after = self.second(before)
        after += before
        return torch.cat([before, after], dim=1)


def test_operations_are_counted_by_hand() -> None:
    """Two images of 8 x 8: a convolution, BatchNorm, a ReLU in place, a linear layer."""
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(256, 5)
    )
    images, maps, logits = 2 * 3 * 64 * 4, 2 * 4 * 64 * 4, 2 * 5 * 4
    convolution = 2 * images + 2 * maps  # the images have no gradient
    norm = 3 * maps + 2 * maps
    linear = 3 * maps + 2 * logits
    assert count_traffic(network, torch.zeros(2, 3, 8, 8)) == convolution + norm + linear


def test_what_a_kernel_has_at_hand_costs_nothing() -> None:
    """A residual is read and its gradient written; joining moves nothing."""
    images, maps = 3 * 64 * 4, 4 * 64 * 4
    counted = count_traffic(Residual(), torch.zeros(1, 3, 8, 8))
    assert counted == (2 * images + 2 * maps) + (3 * maps + 2 * maps) + 2 * maps


def test_weights_are_moved_once_a_step() -> None:
    """resnet18's 11,181,642 with Adam: read twice, a gradient, and seven passes of the optimizer; activations scale."""
    recipe = make_recipe("resnet18", "cifar10", 256)
    found = step_traffic(recipe, 32, 10)
    assert found.step == 10 * 4 * 11_181_642
    assert found.of(256) == found.step + 256 * found.image
    assert step_traffic(recipe.model_copy(update={"optimizer": "sgd"}), 32, 10).step == 8 * 4 * 11_181_642
    assert 3.5 < step_traffic(recipe, 64, 10).image / found.image < 4.5


def test_half_the_bytes_in_bf16() -> None:
    """Of activations between the first layer and the last; weights and what the optimizer remembers stay fp32."""
    recipe = make_recipe("resnet18", "cifar10", 256)
    whole, half = step_traffic(recipe, 32, 10), step_traffic(recipe.model_copy(update={"precision": "bf16"}), 32, 10)
    assert half.step == whole.step
    assert 0.5 < half.image / whole.image < 0.65
