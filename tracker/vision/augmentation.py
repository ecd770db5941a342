"""The training images of an epoch: their order, crops and flips, drawn once and applied a batch at a time.

All draws happen on the CPU from (seed, epoch), so they are the same on every device and for every
normalization; the pixels stay bytes, so the padding is a black pixel that is normalized like any other.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from tracker.study.seeds import Purpose, derive_seed


@dataclass(frozen=True)
class EpochPlan:
    """What happens to each training image in one epoch.

    Args:
        order: int64, (N,), a permutation: the image at each place of the epoch.
        top, left: int64, (N,), the crop's corner in the padded image, by place.
        flip: bool, (N,), by place.
    """

    order: Tensor
    top: Tensor
    left: Tensor
    flip: Tensor

    def to(self, device: torch.device) -> EpochPlan:
        """Return the plan on `device`."""
        return EpochPlan(self.order.to(device), self.top.to(device), self.left.to(device), self.flip.to(device))

    def clone(self) -> EpochPlan:
        """Return a copy."""
        return EpochPlan(self.order.clone(), self.top.clone(), self.left.clone(), self.flip.clone())

    def copy_(self, other: EpochPlan) -> None:
        """Overwrite this plan, where it lies, with another of as many places."""
        for field in fields(self):
            getattr(self, field.name).copy_(getattr(other, field.name))

    def batch(self, first: int, size: int) -> EpochPlan:
        """Return places first to first + size, fewer at the end."""
        place = slice(first, first + size)
        return EpochPlan(self.order[place], self.top[place], self.left[place], self.flip[place])

    def __len__(self) -> int:
        return len(self.order)


def draw_plan(count: int, *, seed: int, epoch: int, crop_padding: int, flip: bool) -> EpochPlan:
    """Draw the plan of one epoch for `count` images.

    Args:
        crop_padding: offsets are uniform over 0 .. 2 * crop_padding.
        flip: each image with probability 0.5; else none.
    """

    def generator(purpose: Purpose) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(seed, purpose, epoch))

    offsets = torch.randint(0, 2 * crop_padding + 1, (2, count), generator=generator("crop"))
    flips = torch.rand(count, generator=generator("flip")) < 0.5
    return EpochPlan(
        order=torch.randperm(count, generator=generator("order")),
        top=offsets[0],
        left=offsets[1],
        flip=flips if flip else torch.zeros_like(flips),
    )


def gather_batch(images: Tensor, plan: EpochPlan, crop_padding: int) -> Tensor:
    """Take the images a plan names, pad, crop and flip them.

    Byte-identical to PIL's ImageOps.expand, crop and mirror for equal parameters.

    Args:
        images: uint8, (N, C, H, W), all training images.
        plan: of B places, on the same device.
        crop_padding: pixels of black on every side before the crop; 0 for no crop.

    Returns:
        uint8, (B, C, H, W).
    """
    batch = images[plan.order]  # (B, C, H, W)
    _, channels, height, width = batch.shape
    if not crop_padding and batch.device.type == "cpu" and not bool(plan.flip.any()):  # a GPU would be waited for
        return batch
    rows = plan.top[:, None] + torch.arange(height, device=batch.device)  # (B, H), in the padded image
    columns = torch.arange(width, device=batch.device).expand(len(plan), width)  # (B, W)
    columns = torch.where(plan.flip[:, None], width - 1 - columns, columns) + plan.left[:, None]
    padded = F.pad(batch, (crop_padding,) * 4) if crop_padding else batch
    pixels = rows[:, :, None] * padded.shape[3] + columns[:, None, :]  # (B, H, W), into H' * W'
    flat = padded.flatten(2)  # (B, C, H' * W')
    index = pixels.flatten(1)[:, None, :].expand(-1, channels, -1)  # (B, C, H * W)
    return flat.gather(2, index).view(len(plan), channels, height, width)
