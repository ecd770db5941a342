"""What a network's first layer makes of its images, against what it made of those it was pre-trained on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from tracker.vision.models import Classifier

STEM_IMAGES = 512
CHUNK_IMAGES = 32
"""At 224 x 224 the output of 32 images, in float64, takes 200 MB in a resnet."""


def stem_distance(classifier: Classifier, images: np.ndarray) -> float | None:
    """Compare a network's first convolution's output with what the BatchNorm after it recorded in pre-training.

    Each channel's output, over `STEM_IMAGES` evenly spaced images and all positions, is taken as a
    normal distribution and so is the record; the distance is the 2-Wasserstein (Frechet) distance
    sqrt((m - m0)^2 + (s - s0)^2), in units of the deviation BatchNorm divides by. It is not quite 0 on
    the source's own images: a record is a running mean over augmented batches, and after few steps
    still holds a part of what it began with.

    Returns:
        The mean over channels; None where no BatchNorm directly follows the first convolution.

    Source: Dowson and Landau, "The Frechet distance between multivariate normal distributions",
        Journal of Multivariate Analysis 12 (1982).
    """
    norm = stem_norm(classifier.network)
    if norm is None or norm.running_mean is None or norm.running_var is None:
        return None
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    unit = (variance + norm.eps).sqrt()  # a dead channel, of variance 0, is then 0 apart, not infinitely
    total = torch.zeros_like(mean)
    squares = torch.zeros_like(mean)
    count = 0
    for batch in spaced_batches(images, STEM_IMAGES, classifier.channels):
        outputs = _input_of(norm, classifier, batch).double().transpose(0, 1).flatten(1)  # (F, n * H * W)
        scores = (outputs - mean[:, None]) / unit[:, None]
        total += scores.sum(dim=1)
        squares += scores.square().sum(dim=1)
        count += scores.shape[1]
    centre = total / count
    std = (squares / count - centre.square()).clamp(min=0).sqrt()
    return float((centre.square() + (std - variance.sqrt() / unit).square()).sqrt().mean())


def stem_norm(network: nn.Module) -> nn.BatchNorm2d | None:
    """Return the BatchNorm that directly follows a network's first convolution, None where there is none."""
    leaves = [module for module in network.modules() if next(module.children(), None) is None]
    for convolution, following in pairwise(leaves):
        if isinstance(convolution, nn.Conv2d):
            return following if isinstance(following, nn.BatchNorm2d) else None
    return None


class _Caught(Exception):
    """Ends a forward pass where enough of it was seen."""


def _input_of(module: nn.Module, classifier: Classifier, images: Tensor) -> Tensor:
    """Run a classifier up to `module`, which is not run, and return what it would get."""
    seen: list[Tensor] = []

    def catch(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0])
        raise _Caught

    handle = module.register_forward_pre_hook(catch)
    try:
        with suppress(_Caught):
            classifier(images)
    finally:
        handle.remove()
    return seen[0]


def spaced_batches(images: np.ndarray, most: int, channels: int) -> Iterator[Tensor]:
    """Yield at most `most` images, evenly spaced, a single channel repeated; uint8, (n, C, H, W)."""
    count = min(len(images), most)
    chosen = np.arange(count) * len(images) // count
    for first in range(0, count, CHUNK_IMAGES):
        yield torch.from_numpy(images[chosen[first : first + CHUNK_IMAGES]]).expand(-1, channels, -1, -1)
