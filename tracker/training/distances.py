"""How far two lists of tensors are apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def plainly(tensor: Tensor) -> Tensor:
    """Return a copy on the CPU, in the plain order of its numbers."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def distance(one: list[Tensor], other: list[Tensor]) -> float:
    """Return the distance of two lists of tensors, as a share of the size of the first."""
    if [tensor.shape for tensor in one] != [tensor.shape for tensor in other]:
        return float("inf")
    size = _norm(one)
    apart = _norm([a - b for a, b in zip(one, other, strict=True)])
    return apart / size if size else apart


def _norm(tensors: list[Tensor]) -> float:
    return math.hypot(*(float(torch.linalg.vector_norm(found, dtype=torch.float64)) for found in tensors))
