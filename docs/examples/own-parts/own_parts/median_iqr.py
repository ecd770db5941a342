"""A normalization: every channel of every image by its own median and interquartile range.

Like the built-in `instance`, but a few very bright or very dark pixels (a lamp, a scratch, a frame) move a median
and an interquartile range hardly, and a mean and a deviation much.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from tracker.vision.images import Statistics


class MedianIqr(nn.Module):
    """Give every channel of every image median 0 and interquartile range 1; a flat channel becomes 0."""

    def forward(self, images: Tensor) -> Tensor:
        """Return float32, (N, C, H, W), of raw images, uint8 of the same shape."""
        unit = images.float().div(255)
        # Sorted, not torch.quantile: that takes 16 million values at most, and a batch may have more.
        ordered = unit.flatten(2).sort(dim=2).values  # (N, C, H * W)
        low, middle, high = (ordered[:, :, _rank(ordered.shape[2], share), None, None] for share in (0.25, 0.5, 0.75))
        spread = high - low  # (N, C, 1, 1)
        return torch.where(spread > 0, (unit - middle) / spread.clamp(min=1 / 255), 0.0)


def _rank(count: int, share: float) -> int:
    """Return the position of a quantile among `count` ordered values, rounded to one of them."""
    return round(share * (count - 1))


def build(target: Statistics, source: Statistics | None) -> nn.Module:
    """Build it: it needs neither the dataset's statistics nor the source's.

    Args:
        target: mean and standard deviation of each channel of the dataset at hand.
        source: those of what the network was trained with before; None for random weights.
    """
    return MedianIqr()
