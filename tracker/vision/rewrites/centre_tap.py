"""Convolutions of maps smaller than their kernel, as matrix products of the taps that touch the map.

A 3x3 convolution, padded by 1, that meets a map of one pixel multiplies eight of its nine taps by zeros, and only
its centre by the pixel. With stride 2 on a 2x2 map it is five of nine, and so it is for each of the four pixels that
stride 1 gives there. Networks made for images of 224 pixels meet such maps in their last stages when images have 32
or 64. A 1x1 convolution of one pixel is a matrix product as it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from tracker.vision.rewrites.change import Change, channels_last, exporting

Window = tuple[slice, slice]
"""Rows and columns of a kernel."""

LARGEST = 16
"""Pixels that come in times pixels that go out: how often a matrix has each input and output channel."""

FEWEST = 16
"""Images for which a matrix is written: for fewer, writing it takes longer than it saves."""


class CentreTapConv2d(nn.Conv2d):
    """A convolution that leaves out taps on padding where the map is small.

    The size of the input decides at each call, so a network takes images of any size.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return what torch's own does."""
        if exporting() or input.ndim != 4:
            return super().forward(input)
        height, width = input.shape[2:]
        window = touching(self, height, width)
        if window is not None:
            return self._one_pixel(input, window)
        windows = touching_each(self, height, width) if len(input) >= FEWEST else None
        return super().forward(input) if windows is None else self._few_pixels(input, windows)

    def _one_pixel(self, input: Tensor, window: Window) -> Tensor:
        """Return (N, O, 1, 1)."""
        rows, columns = (taps.stop - taps.start for taps in window)
        # A slice of everything would cost a fill and a copy backward.
        pixels = input if (rows, columns) == input.shape[2:] else input[:, :, :rows, :columns]
        taps = _cut(self.weight, window)  # (O, C / groups, rows, columns)
        if self.groups > 1:
            return F.conv2d(pixels, taps, self.bias, groups=self.groups)
        return F.linear(pixels.flatten(1), taps.flatten(1), self.bias)[:, :, None, None]

    def _few_pixels(self, input: Tensor, windows: list[list[Window]]) -> Tensor:
        """Return (N, O, rows, columns), each pixel by the window of the kernel that it sees the map through."""
        matrix = _spread(self.weight, windows)  # (rows * columns * O, H * W * C)
        bias = None if self.bias is None else self.bias.repeat(len(matrix) // self.out_channels)
        pixels = F.linear(input.permute(0, 2, 3, 1).flatten(1), matrix, bias)
        images = pixels.unflatten(1, (len(windows), -1, self.out_channels)).permute(0, 3, 1, 2)  # type: ignore[no-untyped-call]
        whole: Tensor = images if channels_last(input) or channels_last(self.weight) else images.contiguous()
        return whole


def touching(convolution: nn.Conv2d, height: int, width: int) -> Window | None:
    """Return the part of a kernel that touches a map of this size; None where the output is not one pixel."""
    window = []
    for side, kernel, stride, padding in _sides(convolution, height, width):
        if not 0 <= side + 2 * padding - kernel < stride:
            return None
        window.append(slice(padding, min(kernel, padding + side)))  # tap t is on pixel t - padding
    return window[0], window[1]


def touching_each(convolution: nn.Conv2d, height: int, width: int) -> list[list[Window]] | None:
    """Return for each output pixel, row by row, the part of a kernel that covers the whole map.

    None where there is no such part for each, where all taps are needed, in groups, and where the matrix that holds
    a window for each pixel would be much larger than the kernel.
    """
    starts = []
    for side, kernel, stride, padding in _sides(convolution, height, width):
        places = (side + 2 * padding - kernel) // stride + 1
        if places < 1 or padding - (places - 1) * stride < 0 or padding + side > kernel:
            return None
        starts.append([padding - place * stride for place in range(places)])
    rows, columns = starts
    largest = len(rows) * len(columns) * height * width > LARGEST
    if largest or convolution.groups > 1 or (height, width) == convolution.kernel_size:
        return None
    return [[(slice(row, row + height), slice(column, column + width)) for column in columns] for row in rows]


def centre_taps(network: nn.Module) -> Iterator[Change]:
    """Yield a network's convolutions that could meet a map smaller than their kernel, or of one pixel.

    The first convolution is left alone: it sees the images, and may have a normalization folded into it.
    """
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    for module in convolutions[1:]:
        if type(module) is nn.Conv2d and _is_plain(module):
            yield module, CentreTapConv2d


def _is_plain(convolution: nn.Conv2d) -> bool:
    """Say whether a kernel lies in one piece on a map with zeros around it, or with nothing."""
    padding = convolution.padding
    return (
        not isinstance(padding, str)
        and convolution.padding_mode == "zeros"
        and convolution.dilation == (1, 1)
        and all(width < kernel for width, kernel in zip(padding, convolution.kernel_size, strict=True))
    )


def _sides(convolution: nn.Conv2d, height: int, width: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield pixels of the map, size of the kernel, stride and padding, of the rows and of the columns."""
    assert not isinstance(convolution.padding, str)
    return zip((height, width), convolution.kernel_size, convolution.stride, convolution.padding, strict=True)


def _cut(weight: Tensor, window: Window) -> Tensor:
    """Cut a window out of every kernel."""
    if torch.compiler.is_compiling():
        return weight[:, :, *window]
    taps: Tensor = _Cut.apply(weight, window)
    return taps


class _Cut(Function):
    """A cut along two axes whose gradient fills one tensor of zeros; autograd's own fills one for each axis."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, window: Window) -> Tensor:
        ctx.window = window
        ctx.save_for_backward(weight)  # for its shape and memory format
        return weight[:, :, *window]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        full = gradient.shape == weight.shape
        if full and gradient.is_contiguous() and weight.is_contiguous():
            # Of 1x1 kernels: strides of axes of length 1 differ by format, and optimizers compare them.
            return gradient.as_strided(weight.shape, weight.stride()), None
        whole = torch.empty_like(weight) if full else torch.zeros_like(weight)
        whole[:, :, *ctx.window] = gradient
        return whole, None


def _spread(weight: Tensor, windows: list[list[Window]]) -> Tensor:
    """Write the windows of all kernels side by side: a line for each output pixel and channel."""
    if torch.compiler.is_compiling():
        pixels = [weight[:, :, *window].permute(0, 2, 3, 1) for row in windows for window in row]
        return torch.stack(pixels).flatten(2).flatten(0, 1)
    matrix: Tensor = _Spread.apply(weight, [window for row in windows for window in row])
    return matrix


class _Spread(Function):
    """Copies of windows, (P * O, h * w * C) for P of them, whose gradients are added where they were cut out."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, windows: list[Window]) -> Tensor:
        ctx.windows = windows
        ctx.save_for_backward(weight)
        kernels = weight.permute(0, 2, 3, 1)  # channels side by side: long pieces to copy where the format has them so
        rows, columns = (taps.stop - taps.start for taps in windows[0])
        lines = weight.new_empty((len(windows), len(weight), rows, columns, weight.shape[1]))
        for pixel, window in zip(lines, windows, strict=True):
            pixel.copy_(kernels[:, *window])
        return lines.flatten(2).flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        rows, columns = (taps.stop - taps.start for taps in ctx.windows[0])
        lines = gradient.view(len(ctx.windows), len(weight), rows, columns, weight.shape[1])
        whole = torch.zeros_like(weight, memory_format=torch.channels_last)
        kernels = whole.permute(0, 2, 3, 1)
        for pixel, window in zip(lines, ctx.windows, strict=True):
            kernels[:, *window] += pixel
        return torch.empty_like(weight).copy_(whole) if weight.stride() != whole.stride() else whole, None
