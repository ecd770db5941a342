"""The compiled kernels, called with tensors."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from tracker.study.errors import TrackerError
from tracker.vision.augmentation import EpochPlan
from tracker.vision.kernels.library import Batch

MOST_CHANNELS = 4
"""Of `standardize`, as in gather.c: its tables lie on the stack."""
PARALLEL_FROM = 1 << 15
"""Numbers a batch must have for a second thread to pay; torch's own grain."""


class NativeKernels:
    """The functions of gather.c.

    Images are uint8, (N, C, H, W), contiguous, on the CPU; a plan's tensors likewise. Without a plan images are
    taken as they stand. One-channel images are repeated for as many channels as are asked for.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def look_up(self, images: Tensor, plan: EpochPlan | None, padding: int, table: Tensor, out: Tensor) -> None:
        """Gather, crop, flip, and replace each byte by its value in a table.

        Args:
            table: float32, (C, 256), contiguous.
            out: float32, (B, C, H, W), contiguous or channels_last; written.
        """
        batch = _batch(images, plan, padding, out)
        done = self._library.look_up(
            ctypes.byref(batch), table.data_ptr(), out.data_ptr(), _channels_last(out), _threads(out)
        )
        _check(done)

    def take_bytes(self, images: Tensor, plan: EpochPlan | None, padding: int, out: Tensor) -> None:
        """Gather, crop and flip.

        Args:
            out: uint8, (B, C, H, W), contiguous; written.
        """
        batch = _batch(images, plan, padding, out)
        _check(self._library.take_bytes(ctypes.byref(batch), out.data_ptr(), _threads(out)))

    def standardize(
        self, images: Tensor, plan: EpochPlan | None, padding: int, unit: Tensor, constant_std: float, out: Tensor
    ) -> Tensor:
        """Gather, crop, flip, and give each channel of each crop mean 0 and sample standard deviation 1.

        Args:
            unit: float32, (256,): what each byte is in [0, 1].
            constant_std: a channel at or below it becomes 0.
            out: float32, (B, C, H, W), contiguous or channels_last; written, save where the answer names a place.

        Returns:
            int64, the places whose statistics torch might round otherwise: those are to be computed by it.
        """
        batch = _batch(images, plan, padding, out)
        doubtful = torch.empty(len(out), dtype=torch.bool)
        done = self._library.standardize(
            ctypes.byref(batch),
            unit.data_ptr(),
            constant_std,
            out.data_ptr(),
            doubtful.data_ptr(),
            _channels_last(out),
            _threads(out),
        )
        _check(done)
        return doubtful.nonzero().flatten()


def _batch(images: Tensor, plan: EpochPlan | None, padding: int, out: Tensor) -> Batch:
    count, planes, height, width = images.shape
    size, channels = out.shape[:2]
    if images.dtype != torch.uint8 or not images.is_contiguous() or images.device.type != "cpu":
        raise ValueError("images are not contiguous bytes on the CPU")
    if (
        planes not in (1, channels)
        or out.shape[2:] != images.shape[2:]
        or size != (count if plan is None else len(plan))
    ):
        raise ValueError(f"a batch of shape {tuple(out.shape)} cannot be taken from images {tuple(images.shape)}")
    pointers: list[int | None] = [None] * 4
    if plan is not None:
        parts = (plan.order, plan.top, plan.left, plan.flip)
        types = (torch.int64, torch.int64, torch.int64, torch.bool)
        for part, dtype in zip(parts, types, strict=True):
            if part.shape != (size,) or part.dtype != dtype or not part.is_contiguous() or part.device.type != "cpu":
                raise ValueError(f"a plan's tensor is not contiguous {dtype} of {size} on the CPU")
        pointers = [part.data_ptr() for part in parts]
    return Batch(images.data_ptr(), count, planes, height, width, *pointers, size, padding, channels)


def _channels_last(out: Tensor) -> bool:
    if out.is_contiguous():
        return False
    if out.is_contiguous(memory_format=torch.channels_last):
        return True
    raise ValueError("the output is neither contiguous nor channels_last")


def _threads(out: Tensor) -> int:
    return torch.get_num_threads() if out.numel() >= PARALLEL_FROM else 1


def _check(done: int) -> None:
    if done:
        raise TrackerError("a training plan names an image or a crop that is not there")
