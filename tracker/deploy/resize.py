"""What the readers do to an image's size, as operations of a network: bit for bit what PIL gives.

torch.export and ONNX take them for any number, height and width of images.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

ONE = 1 << 22
"""PIL's weights are integers in these units: 32 bits less 8 for the pixel and 2 for the sum."""


class CentreResize(nn.Module):
    """Take the largest centred square of an image and resize it, bilinear with antialiasing.

    Two products with matrices of triangle filters, columns first, rounded to bytes after each, as
    PIL does. Doubles hold its integers exactly, so the bytes are PIL's own; an image that has the
    size already is left as it is.

    Args:
        size: S, pixels of the square.

    Source: Pillow's `Resample.c` (`precompute_coeffs`, `normalize_coeffs_8bpc`) and
    `tracker.vision.readers.pixels`.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """Return uint8, (N, C, S, S), from uint8, (N, C, H, W)."""
        height, width = images.shape[2], images.shape[3]
        side = cast(int, torch.sym_min(height, width))  # a symbol while it is traced
        pixels = images.double()
        pixels = _to_bytes(pixels @ self._weights(width, side, images.device).T)  # (N, C, H, S)
        pixels = _to_bytes(self._weights(height, side, images.device) @ pixels)  # (N, C, S, S)
        return pixels.to(torch.uint8)

    def _weights(self, length: int, side: int, device: torch.device) -> Tensor:
        """Return float64, (S, length), whole numbers: what each pixel of a line contributes to each new one.

        The crop is where the line's positions begin: those outside the square have no weight.
        """
        positions = torch.arange(length, dtype=torch.float64, device=device) - (length - side) // 2
        scale = side / self.size
        stretch = cast(float, torch.sym_max(scale, 1.0))  # a filter is at least a pixel wide
        centres = (torch.arange(self.size, dtype=torch.float64, device=device) + 0.5)[:, None] * scale  # (S, 1)
        first = torch.floor(centres - stretch + 0.5).clamp(min=0)
        last = torch.floor(centres + stretch + 0.5).clamp(max=side)
        inside = (positions >= first) & (positions < last)
        weights = torch.where(inside, 1 - torch.abs((positions - centres + 0.5) * (1 / stretch)), 0.0).clamp(min=0)
        return torch.floor(weights / weights.sum(dim=1, keepdim=True) * ONE + 0.5)


def _to_bytes(sums: Tensor) -> Tensor:
    return torch.floor(sums / ONE + 0.5).clamp(0, 255)
