"""What docs/theory.md says of the settings holds in numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tracker.vision.folding import rebase_normalization
from tracker.vision.images import Statistics
from tracker.vision.models import Classifier
from tracker.vision.normalizations import MinMax, PerImage, ZScore, build_normalization
from tracker.vision.statistics import PUBLISHED, histogram, statistics_of

IMAGENET = PUBLISHED["imagenet"]
SOURCE = Statistics((0.4, 0.45, 0.3), (0.2, 0.3, 0.25))
RAW = np.random.default_rng(0).integers(0, 64, (8, 3, 10, 10), dtype=np.uint8)
"""Images dark enough for a gain without clipping."""
LABELS = torch.arange(8) % 4


class Double(nn.Module):
    """A normalization of bytes, then float64."""

    def __init__(self, normalization: nn.Module) -> None:
        super().__init__()
        self.normalization = normalization

    def forward(self, images: Tensor) -> Tensor:
        """Return float64."""
        return self.normalization(images).double()


def zscore(mean: float | tuple[float, ...], std: float | tuple[float, ...], channels: int = 3) -> ZScore:
    """Make a z-score, one number standing for every channel."""
    full = [(value,) * channels if isinstance(value, float) else value for value in (mean, std)]
    return ZScore(Statistics(full[0], full[1]))


def network(channels: int = 3, *, padding: int = 0, batch_norm: bool = True) -> nn.Sequential:
    """Make a small network, seed 0, in float64; its BatchNorm adds next to nothing to the variance."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(5, eps=1e-12) if batch_norm else nn.Identity()
    stem = nn.Conv2d(channels, 5, 3, padding=padding, bias=not batch_norm)
    return nn.Sequential(stem, norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)).double()


def trained(
    layers: nn.Sequential, normalization: nn.Module, raw: np.ndarray, steps: int, optimizer: type[torch.optim.Optimizer]
) -> list[float]:
    """Train a copy of a network for some steps and return the loss before each."""
    own = copy.deepcopy(layers).train()
    images = torch.from_numpy(raw)
    update = optimizer(own.parameters(), lr=0.05)  # type: ignore[call-arg]
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(own(normalization(images).double()), LABELS)
        losses.append(loss.item())
        update.zero_grad()
        loss.backward()
        update.step()
    return losses


def of_setting(setting: str, raw: np.ndarray) -> Tensor:
    """Normalize images under one of the four settings, with their own statistics where it takes them."""
    normalization = build_normalization(setting, target=statistics_of(histogram(raw)), source=SOURCE)
    return normalization(torch.from_numpy(raw))


SENSORS: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [
    ("gain", lambda raw: 3 * raw),
    ("gain and offset", lambda raw: 2 * raw + 50),
    ("by channel", lambda raw: raw * np.array([1, 2, 4], dtype=np.uint8).reshape(3, 1, 1)),
]


@pytest.mark.parametrize(("name", "sensor"), SENSORS, ids=[name for name, _ in SENSORS])
def test_gain_and_offset_are_undone_by_finetune_and_instance(
    name: str, sensor: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Without clipping and rounding what the network is fed stays the same; under pretrain and minmax it does not."""
    seen = sensor(RAW)
    assert seen.dtype == np.uint8 and statistics_of(histogram(seen)) != statistics_of(histogram(RAW))
    for setting in ("finetune", "instance"):
        assert torch.allclose(of_setting(setting, seen), of_setting(setting, RAW), atol=1e-5)
    for setting in ("pretrain", "minmax"):
        assert float((of_setting(setting, seen) - of_setting(setting, RAW)).abs().max()) > 0.2


def test_a_gain_of_each_image_is_undone_by_instance_alone() -> None:
    """Exposure differs from image to image: statistics of the dataset cannot follow it."""
    seen = RAW * np.array([1, 2, 3, 4] * 2, dtype=np.uint8).reshape(8, 1, 1, 1)
    assert torch.allclose(of_setting("instance", seen), of_setting("instance", RAW), atol=1e-5)
    assert float((of_setting("finetune", seen) - of_setting("finetune", RAW)).abs().max()) > 0.2


def test_inversion_is_undone_by_none() -> None:
    """finetune and instance give the negative of what they gave; pretrain and minmax move it besides.

    By (1 - 2 mean) / std: a source of mean 0.5 would have it moved by nothing.
    """
    seen = 255 - RAW
    for setting in ("finetune", "instance"):
        assert torch.allclose(of_setting(setting, seen), -of_setting(setting, RAW), atol=1e-5)
    for setting in ("pretrain", "minmax"):
        assert float((of_setting(setting, seen) + of_setting(setting, RAW)).abs().min()) > 0.1
    moved = (1 - 2 * torch.tensor(SOURCE.mean)) / torch.tensor(SOURCE.std)
    assert torch.allclose(of_setting("pretrain", seen), moved.view(3, 1, 1) - of_setting("pretrain", RAW), atol=1e-5)


def test_rounding_is_not_undone() -> None:
    """A sensor that darkens to a tenth leaves 7 levels of 64: under finetune and instance the network sees it."""
    seen = np.round(RAW * 0.1).astype(np.uint8)
    for setting in ("finetune", "instance"):
        assert float((of_setting(setting, seen) - of_setting(setting, RAW)).abs().max()) > 0.2


@torch.no_grad()
def test_every_setting_has_the_same_networks() -> None:
    """A network on pretrain's z-score has an equal one on finetune's, that one on minmax, and the way back.

    Equal it is with its border filled; with black ones the inner positions alone.
    """
    stem = network(padding=1)[:1]
    first = Classifier(ZScore(IMAGENET), stem, "none", 3).eval()
    finetune, minmax = zscore((0.1, 0.2, 0.3), (0.05, 0.1, 0.2)), MinMax()

    def outputs(classifier: Classifier) -> Tensor:
        classifier.normalization = Double(classifier.normalization)
        result: Tensor = classifier(torch.from_numpy(RAW))
        return result

    expected = outputs(copy.deepcopy(first))
    second = rebase_normalization(first, finetune)
    third = rebase_normalization(rebase_normalization(first, finetune, "zero"), minmax, "zero")
    back = rebase_normalization(third, first.normalization, "zero")
    assert type(second.normalization) is ZScore and type(third.normalization) is MinMax
    assert torch.allclose(outputs(second), expected, atol=1e-5)
    assert torch.allclose(outputs(back), expected, atol=1e-5), "the way back takes the black borders back too"
    black = outputs(third)
    assert torch.allclose(black[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-5)
    assert float((black - expected).abs().max()) > 0.1


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_equal_networks_learn_differently(optimizer: type[torch.optim.Optimizer]) -> None:
    """Two networks that are one function part after one step, under SGD and Adam: their weights have other scales."""
    first = Classifier(ZScore(SOURCE), network(batch_norm=False), "none", 3)
    second = rebase_normalization(first, MinMax())
    ours, theirs = (
        trained(classifier.network, classifier.normalization, RAW, 3, optimizer)  # type: ignore[arg-type]
        for classifier in (first, second)
    )
    assert ours[0] == pytest.approx(theirs[0], rel=1e-6)
    assert abs(ours[1] - theirs[1]) > 1e-3


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_batch_norm_makes_one_training_of_several_settings(optimizer: type[torch.optim.Optimizer]) -> None:
    """From the same weights, without padding: where all channels have one deviation, every loss is the same.

    BatchNorm divides the stem's output by its own deviation, whatever weights there are, so the loss is
    one function of the weights. The means may differ by channel; two ratios of deviations may not.
    """
    layers = network()
    losses = trained(layers, MinMax(), RAW, 6, optimizer)
    assert losses[-1] < losses[0] - 0.01
    for same in (zscore((0.1, 0.5, 0.3), 0.2), zscore(0.5, 0.05)):
        assert trained(layers, same, RAW, 6, optimizer) == pytest.approx(losses, rel=1e-5)
    for other in (zscore(0.5, (0.1, 0.2, 0.4)), PerImage()):
        assert abs(trained(layers, other, RAW, 6, optimizer)[0] - losses[0]) > 1e-3
    padded = network(padding=1)
    ours, theirs = (trained(padded, each, RAW, 1, optimizer) for each in (MinMax(), zscore(0.5, 0.2)))
    assert abs(ours[0] - theirs[0]) > 1e-3, "the border"
    single = network(1)
    ours, theirs = (trained(single, each, RAW[:, :1], 6, optimizer) for each in (MinMax(), zscore(0.3, 0.1, 1)))
    assert ours == pytest.approx(theirs, rel=1e-5)


@torch.no_grad()
def test_batch_norm_undoes_nothing_while_it_stands_still() -> None:
    """In evaluation mode, as the backbone is under tune=head, another normalization is another output."""
    layers = network()
    images = torch.from_numpy(RAW)
    layers.train()(MinMax()(images).double())  # its record moves a tenth of the way
    outputs = [layers.eval()(normalization(images).double()) for normalization in (MinMax(), zscore(0.5, 0.2))]
    assert float((outputs[0] - outputs[1]).abs().max()) > 0.1


@torch.no_grad()
def test_batch_norm_can_learn_an_inversion_of_one_sign() -> None:
    """The negative input with the negative BatchNorm weight is the same: sign is within head+bn's reach."""
    layers = network()
    inverted = copy.deepcopy(layers)
    inverted[1].weight.neg_()  # type: ignore[operator, union-attr]
    ours = layers.train()(zscore(0.5, 0.2)(torch.from_numpy(RAW)).double())
    theirs = inverted.train()(zscore(0.5, 0.2)(torch.from_numpy(255 - RAW)).double())
    assert torch.allclose(ours, theirs, atol=1e-5)
