"""The first layer's activations are compared with what its BatchNorm recorded, and nothing is changed by it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from tracker.vision.images import Statistics
from tracker.vision.models import Classifier
from tracker.vision.normalizations import MinMax, ZScore
from tracker.vision.stem import STEM_IMAGES, spaced_batches, stem_distance, stem_norm


class Forbidden(nn.Module):
    """What comes after the stem, and must not be run."""

    def forward(self, images: Tensor) -> Tensor:
        """Fail."""
        raise AssertionError("the network was run beyond its first layer")


def images(count: int = 40, channels: int = 3, size: int = 8) -> np.ndarray:
    """Make random images, seed 0."""
    return np.random.default_rng(0).integers(0, 256, (count, channels, size, size), dtype=np.uint8)


def classifier(normalization: nn.Module, *after: nn.Module) -> Classifier:
    """Make a network that begins with a convolution, seed 0."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), *after, Forbidden())
    return Classifier(normalization, layers, "none", 3).eval()


@torch.no_grad()
def record(network: Classifier, norm: nn.BatchNorm2d, seen: np.ndarray) -> None:
    """Write into a BatchNorm the statistics of exactly these images."""
    outputs = network.network[0](network.normalization(torch.from_numpy(seen)))  # type: ignore[index, operator]
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.copy_(outputs.mean(dim=(0, 2, 3)))
    norm.running_var.copy_(outputs.var(dim=(0, 2, 3), correction=0))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("resnet18", "bn1"), ("resnet50", "bn1"), ("densenet121", "features.norm0"), ("densenet161", "features.norm0"),
        ("mobilenet_v3_small", "features.0.1"), ("vgg11_bn", "features.1"), ("googlenet", "conv1.bn"),
        ("vgg11", None), ("squeezenet1_1", None), ("vit_b_16", None), ("convnext_tiny", None),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:The default weight initialization of GoogleNet:FutureWarning")
def test_the_norm_after_the_first_convolution_is_found(model: str, name: str | None) -> None:
    """Networks that normalize their stem by BatchNorm name it; the others have none."""
    with torch.device("meta"):
        options = {"aux_logits": False} if model == "googlenet" else {}
        network = torchvision.models.get_model(model, weights=None, **options)
    found = stem_norm(network)
    assert found is (None if name is None else network.get_submodule(name))


@torch.no_grad()
def test_what_was_recorded_is_no_distance_away() -> None:
    """On the very images of the record the distance is 0; in units of its deviation it grows with the mean."""
    norm = nn.BatchNorm2d(5)
    network, seen = classifier(MinMax(), norm), images()
    record(network, norm, seen)
    assert stem_distance(network, seen) == pytest.approx(0, abs=1e-5)
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean += 2 * (norm.running_var + norm.eps).sqrt()
    assert stem_distance(network, seen) == pytest.approx(2, abs=1e-5)


@torch.no_grad()
def test_the_distance_is_frechets() -> None:
    """Under another normalization it is sqrt((m - m0)^2 + (s - s0)^2) of all outputs, over the record's deviation."""
    norm = nn.BatchNorm2d(5)
    network, seen = classifier(ZScore(Statistics((0.5,) * 3, (0.25,) * 3)), norm), images()
    record(network, norm, seen)
    other = classifier(ZScore(Statistics((0.4, 0.5, 0.6), (0.3, 0.2, 0.5))), norm)
    outputs = other.network[0](other.normalization(torch.from_numpy(seen)))  # type: ignore[index, operator]
    assert norm.running_mean is not None and norm.running_var is not None
    mean, std = norm.running_mean, norm.running_var.sqrt()
    apart = (outputs.mean(dim=(0, 2, 3)) - mean).square() + (outputs.std(dim=(0, 2, 3), correction=0) - std).square()
    expected = (apart.sqrt() / (norm.running_var + norm.eps).sqrt()).mean().item()
    assert expected > 0.1
    assert stem_distance(other, seen) == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_a_dead_channel_is_not_infinitely_far() -> None:
    """A filter of zeros, as ImageNet's networks have some, counts as no shift."""
    norm = nn.BatchNorm2d(5)
    network, seen = classifier(MinMax(), norm), images()
    network.network[0].weight[2], network.network[0].bias[2] = 0, 0  # type: ignore[index, union-attr, operator]
    record(network, norm, seen)
    assert stem_distance(network, seen) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("after", [(), (nn.ReLU(), nn.BatchNorm2d(5)), (nn.BatchNorm2d(5, track_running_stats=False),)])
def test_without_a_record_there_is_no_distance(after: tuple[nn.Module, ...]) -> None:
    """No BatchNorm, one that does not follow directly, and one that records nothing: None."""
    assert stem_distance(classifier(MinMax(), *after), images()) is None


def test_images_are_evenly_spaced() -> None:
    """All of few images, each once; of many every k-th, so that sets sorted by class are looked at throughout."""
    few = images(70, channels=1)
    assert np.array_equal(torch.cat(list(spaced_batches(few, 512, 1))).numpy(), few)
    many = np.arange(2_000, dtype=np.uint16).view(np.uint8).reshape(2_000, 1, 1, 2)
    chosen = torch.cat(list(spaced_batches(many, STEM_IMAGES, 3))).numpy()
    assert chosen.shape == (STEM_IMAGES, 3, 1, 2)
    positions = np.ascontiguousarray(chosen[:, 0, 0]).view(np.uint16).ravel()
    assert set(np.diff(positions.astype(int))) == {3, 4}
    assert positions[0] == 0 and positions[-1] >= 1_995
