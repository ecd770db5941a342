"""Normalizations: modules that take raw uint8 images and give the network its input.

A normalization is the first layer of the model: its statistics are buffers, saved in the
checkpoint, so training and serving cannot disagree about it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tracker.study.errors import SourceError, UsageError
from tracker.study.extensions import find_extension
from tracker.study.recipe import normalization_names
from tracker.vision.extensions import blamed, load_extension, wrong
from tracker.vision.images import Statistics
from tracker.vision.statistics import repeated

Builder = Callable[[Statistics, Statistics | None], nn.Module]
"""(statistics of the dataset at hand, statistics of the source) -> module."""

CONSTANT_STD = 1e-6
"""A channel below this is constant: one pixel in a 1024 x 1024 image off by 1/255 has 3.8e-6."""


class MinMax(nn.Module):
    """Map bytes to [0, 1], nothing else."""

    def forward(self, images: Tensor) -> Tensor:
        """Return float32, (N, C, H, W), from uint8 of the same shape."""
        return images.float().div(255)


class ZScore(nn.Module):
    """Subtract a mean and divide by a standard deviation, channel by channel.

    Bit-identical to torchvision's ToTensor and Normalize.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, statistics: Statistics) -> None:
        super().__init__()
        if min(statistics.std) <= 0:
            raise SourceError(
                f"a channel has standard deviation {min(statistics.std)}, by which nothing can be divided",
                "the images are constant in it; use normalization minmax, or other images",
            )
        self.register_buffer("mean", torch.tensor(statistics.mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(statistics.std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return float32, (N, C, H, W), from uint8 of the same shape."""
        return images.float().div(255).sub(self.mean).div(self.std)


class PerImage(nn.Module):
    """Give every channel of every image mean 0 and sample standard deviation 1.

    Statistics come from one image, never from the batch, so training and test agree. A constant
    channel becomes 0 everywhere.

    Source: the reference study's "instance" setting.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Return float32, (N, C, H, W), from uint8 of the same shape."""
        unit = images.float().div(255)
        std, mean = torch.std_mean(unit, dim=(2, 3), correction=1, keepdim=True)  # (N, C, 1, 1)
        return torch.where(std > CONSTANT_STD, (unit - mean) / std, 0.0)


BUILDERS: dict[str, Builder] = {}
"""Every built-in normalization by name; packages add theirs by the entry-point group `tracker.normalizations`."""


def register(name: str) -> Callable[[Builder], Builder]:
    """Make a builder known under `name`; a name is taken once."""

    def keep(builder: Builder) -> Builder:
        if name in BUILDERS:
            raise ValueError(f"normalization {name!r} is registered twice")
        BUILDERS[name] = builder
        return builder

    return keep


@register("finetune")
def _finetune(target: Statistics, source: Statistics | None) -> nn.Module:
    return ZScore(target)


@register("pretrain")
def _pretrain(target: Statistics, source: Statistics | None) -> nn.Module:
    if source is None:
        raise SourceError(
            "normalization pretrain needs a source's statistics, and random weights have none",
            "choose another source, or leave pretrain out of the normalization axis",
        )
    return ZScore(source)


@register("instance")
def _instance(target: Statistics, source: Statistics | None) -> nn.Module:
    return PerImage()


@register("minmax")
def _minmax(target: Statistics, source: Statistics | None) -> nn.Module:
    return MinMax()


def build_normalization(
    name: str, *, target: Statistics, source: Statistics | None, channels: int | None = None
) -> nn.Module:
    """Build one normalization.

    Args:
        name: one of `normalization_names()`.
        target: the dataset's statistics.
        source: the source's statistics; None for random weights.
        channels: C the network takes, for which a single channel's statistics are repeated; None for as many as
            the statistics have.

    Raises:
        UsageError: no such normalization.
        SourceError: it needs what the source does not have.
        TrackerError: two packages have it, or the one that has it does not build a module.
    """
    if channels is not None:
        target = repeated(target, channels)
        source = None if source is None else repeated(source, channels)
    own = find_extension("tracker.normalizations", name, built_in=name in BUILDERS)
    if own is None:
        if name not in BUILDERS:
            raise UsageError(f"{name!r} is not a normalization", f"accepted: {', '.join(normalization_names())}")
        return BUILDERS[name](target, source)
    builder = load_extension(own)
    with blamed(own, "cannot be built"):
        module = builder(target, source)
    if not isinstance(module, nn.Module):
        raise wrong(own, f"gives {type(module).__name__}, not a torch.nn.Module")
    return module
