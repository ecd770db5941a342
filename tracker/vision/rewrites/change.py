"""What a rewrite changes, and when it stands back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Change = tuple[nn.Module, type[nn.Module]]
"""A module, and the class that it becomes one of."""


def exporting() -> bool:
    """Say whether a program is being written down: it may be run on images of other sizes, by others than torch."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


def channels_last(images: Tensor) -> bool:
    """Say whether images, or kernels, are in channels_last format and in no other."""
    return images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
