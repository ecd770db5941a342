"""The same in torch alone, as index arithmetic: what `torch.compile` makes one kernel of on a GPU."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from tracker.vision.augmentation import EpochPlan

PlanTensors = tuple[Tensor, Tensor, Tensor, Tensor]
"""Order, top, left, flip; what a compiled function takes instead of an object."""

VARIANTS: Final = 100_000
"""Of compiled code: more than any grid has."""


def plan_tensors(plan: EpochPlan | None) -> PlanTensors | None:
    """Return a plan's tensors."""
    return None if plan is None else (plan.order, plan.top, plan.left, plan.flip)


def take_bytes(images: Tensor, plan: PlanTensors | None, padding: int, channels: int) -> Tensor:
    """Gather, crop and flip; uint8, (B, C, H, W).

    Args:
        images: uint8, (N, 1 or C, H, W).
        plan: None to take the images as they stand.
        channels: C, for which a single one is repeated.
    """
    if plan is None:
        return images.expand(-1, channels, -1, -1)
    order, top, left, flip = plan
    _, planes, height, width = images.shape
    row = torch.arange(height, device=images.device) + (top - padding)[:, None]  # (B, H), in the image
    column = torch.arange(width, device=images.device)
    column = torch.where(flip[:, None], width - 1 - column, column) + (left - padding)[:, None]  # (B, W)
    inside = ((row >= 0) & (row < height))[:, :, None] & ((column >= 0) & (column < width))[:, None, :]  # (B, H, W)
    plane = torch.arange(channels, device=images.device).clamp(max=planes - 1)
    taken = images[
        order[:, None, None, None],
        plane[None, :, None, None],
        row.clamp(0, height - 1)[:, None, :, None],
        column.clamp(0, width - 1)[:, None, None, :],
    ]  # (B, C, H, W)
    return torch.where(inside[:, None], taken, 0)


def look_up(
    images: Tensor, plan: PlanTensors | None, padding: int, table: Tensor, memory_format: torch.memory_format
) -> Tensor:
    """Gather, crop, flip, and replace each byte by its value in a table; float32, (B, C, H, W).

    Args:
        table: float32, (C, 256).
    """
    channels = len(table)
    taken = take_bytes(images, plan, padding, channels)
    plane = torch.arange(channels, device=images.device)[None, :, None, None]
    return table[plane, taken.long()].contiguous(memory_format=memory_format)


@functools.cache
def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the function compiled, once a process, for every size of images and batch."""
    keep_compiling()  # beyond the limit it would fail: it is compiled whole or not at all
    made: Callable[..., Tensor] = torch.compile(function, dynamic=True, fullgraph=True)
    return made


def keep_compiled(cache: Path) -> None:
    """Let this process find what torch compiled in others, and keep its own, in `cache`.

    TORCHINDUCTOR_CACHE_DIR, where the environment has it, stays as it is.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / "inductor"))


def keep_compiling() -> None:
    """Let torch compile as many variants of a function as a process asks for.

    It counts them by function, and ends silently with eager execution: at 8 variants of one object, and at 256 of all.
    But one `forward` serves all ResNets of a worker, which trains one after the other, in whole and short batches.
    """
    limits = torch._dynamo.config
    limits.recompile_limit = max(VARIANTS, limits.recompile_limit)
    limits.accumulated_recompile_limit = max(VARIANTS, limits.accumulated_recompile_limit)
