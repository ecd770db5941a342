"""DenseNet's blocks without the repeated concatenation of everything before.

Layer i of a block of L reads the outputs of all layers before it. torchvision concatenates them anew for
each layer, and its gradients come back in L * (L - 1) / 2 small additions.

Maps in contiguous format are kept channel by channel, (C, N, H, W), in one buffer. What a layer reads are the
buffer's first channels: no copy, and one block of memory, which BatchNorm and the 1x1 convolution, a matrix
product here, take as it is. Autograd keeps the buffer once, where it would keep a concatenation a layer.

In channels_last format the first channels are no block of memory, and every BatchNorm would copy them. There
a layer's output is appended to what the layer has read: as many copies as torchvision makes forward, but one
addition a layer backward.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint
from torchvision.models.densenet import _DenseBlock, _DenseLayer

from tracker.vision.rewrites.centre_tap import CentreTapConv2d
from tracker.vision.rewrites.change import Change, channels_last, exporting
from tracker.vision.rewrites.step_counters import UncountedBatchNorm2d


class RunningBlock(_DenseBlock):  # type: ignore[misc]
    """A dense block that concatenates as it goes."""

    def forward(self, init_features: Tensor) -> Tensor:
        """Return what torchvision's own does; (N, C + L * growth, H, W) from (N, C, H, W)."""
        if torch.compiler.is_compiling() or exporting():
            concatenated: Tensor = super().forward(init_features)  # compilers see the whole, and plan for themselves
            return concatenated
        layers = list(self.values())
        # A map of one pixel has no format of its own; the weights say what its neighbours have.
        if channels_last(init_features) or channels_last(layers[0].conv2.weight):
            features = init_features
            for layer in layers:
                features = torch.cat((features, layer(features)), 1)
            return features
        buffer = Buffer(init_features, sum(layer.conv2.out_channels for layer in layers))
        for layer in layers:
            buffer.append(layer(buffer.filled, images=len(init_features)))
        return buffer.maps()


class RunningLayer(_DenseLayer):  # type: ignore[misc]
    """A dense layer that does not copy its input."""

    def forward(self, input: Tensor | list[Tensor], images: int | None = None) -> Tensor:
        """Return the layer's own channels, (N, growth, H, W).

        Args:
            input: all channels before, one tensor or several; (N, C, H, W).
            images: N, if `input` is channel by channel: (1, C, N * H, W).
        """
        if images is None:
            new: Tensor = super().forward(input)
            return new
        assert isinstance(input, Tensor)
        if self.memory_efficient and input.requires_grad:
            bottleneck = checkpoint(self._bottleneck, input, use_reentrant=False)
        else:
            bottleneck = self._bottleneck(input)
        bottleneck = self.relu2(self.norm2(bottleneck))  # (1, B, N * H, W)
        new = self.conv2(as_images(bottleneck, images))
        return F.dropout(new, self.drop_rate, self.training) if self.drop_rate > 0 else new

    def bn_function(self, inputs: list[Tensor]) -> Tensor:
        """Return the bottleneck's channels, (N, B, H, W); torchvision concatenates one tensor as well."""
        features = inputs[0] if len(inputs) == 1 else torch.cat(inputs, 1)
        mixed: Tensor = self.conv1(self.relu1(self.norm1(features)))
        return mixed

    def _bottleneck(self, rows: Tensor) -> Tensor:
        """Return the bottleneck's channels, (1, B, N * H, W)."""
        features = self.relu1(self.norm1(rows))[0]  # (C, N * H, W)
        mixed: Tensor = self.conv1.weight.flatten(1) @ features.flatten(1)  # (B, N * H * W)
        return mixed.view(1, -1, *features.shape[1:])


class Buffer:
    """A block's channels, one after the other, in memory taken once.

    Args:
        images: the block's input, (N, C, H, W), which becomes the first C channels.
        growth: how many channels will follow.

    Attributes:
        filled: the channels so far, (1, C, N * H, W), contiguous; autograd follows it.
    """

    def __init__(self, images: Tensor, growth: int) -> None:
        count, channels, height, width = images.shape
        self._memory = images.new_empty((channels + growth, count, height, width))
        self._count = count
        self.filled = images.new_empty((1, 0, count * height, width))
        self.append(images)

    def append(self, images: Tensor) -> None:
        """Write channels, (N, g, H, W), after those that are there."""
        self.filled = _Append.apply(self.filled, images, self._memory)

    def maps(self) -> Tensor:
        """Return a copy as (N, C, H, W); whoever changes it changes nothing that autograd keeps."""
        return as_images(self.filled, self._count).clone(memory_format=torch.contiguous_format)


class _Append(Function):
    """Write channels into memory behind those filled; what was filled stays as it is, for backward too.

    Each result has a version counter of its own. By a common one autograd would take a write behind the channels
    that it keeps for a write into them, and refuse to go back.
    """

    @staticmethod
    def forward(ctx: Any, filled: Tensor, images: Tensor, memory: Tensor) -> Tensor:
        first, last = filled.shape[1], filled.shape[1] + images.shape[1]
        ctx.first, ctx.images = first, len(images)
        memory[first:last].copy_(images.transpose(0, 1))
        longer: Tensor = memory[:last].flatten(1, 2).unsqueeze(0).data  # (1, C + g, N * H, W)
        return longer

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        gradient = gradient.contiguous()  # the copy at the end of a block gives it image by image
        return gradient[:, : ctx.first], as_images(gradient[:, ctx.first :], ctx.images), None


def as_images(rows: Tensor, images: int) -> Tensor:
    """View (1, C, N * H, W) as (N, C, H, W)."""
    _, channels, height, width = rows.shape
    return rows.view(channels, images, height // images, width).transpose(0, 1)


def running_blocks(network: nn.Module) -> Iterator[Change]:
    """Yield a network's dense blocks and their layers.

    A block whose layers were changed is left alone: what is no BatchNorm would find all images in one map.
    """
    modules: Iterator[Any] = network.modules()
    for block in modules:
        if type(block) is _DenseBlock and all(_is_plain(layer) for layer in block.values()):
            yield block, RunningBlock
            yield from ((layer, RunningLayer) for layer in block.values())


def _is_plain(layer: Any) -> bool:
    """Say whether a layer is torchvision's, its parts included."""
    if type(layer) is not _DenseLayer:
        return False
    mixing = layer.conv1
    return (
        all(type(norm) in (nn.BatchNorm2d, UncountedBatchNorm2d) for norm in (layer.norm1, layer.norm2))
        and all(type(relu) is nn.ReLU for relu in (layer.relu1, layer.relu2))
        and type(mixing) in (nn.Conv2d, CentreTapConv2d)
        and isinstance(layer.conv2, nn.Conv2d)
        and (mixing.kernel_size, mixing.stride, mixing.padding, mixing.groups) == ((1, 1), (1, 1), (0, 0), 1)
        and mixing.bias is None
    )
