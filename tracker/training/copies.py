"""Copies of tensors on the CPU, taken while the device goes on.

What lies on a GPU is gathered there into one piece of memory for each type, in its turn among the steps, and goes to
pinned memory from there on a stream of its own: a network has hundreds of tensors, and a copy of each would be waited
for. Whoever reads a copy waits for it first, in whichever thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor


def nothing() -> None:
    """Wait for nothing."""


class Copies(NamedTuple):
    """Tensors on the CPU that training does not change any more.

    Args:
        wait: to be called before the first of them is read.
    """

    tensors: dict[str, Tensor]
    wait: Callable[[], None]


def copied(tensors: Mapping[str, Tensor], buffers: dict[str, Tensor] | None = None) -> Copies:
    """Copy tensors, wherever they are, to contiguous ones on the CPU.

    Args:
        buffers: where copies of the CPU's own lie, used again by the next call: new memory takes ten times as long
            to touch as old memory to overwrite.
    """
    buffers = {} if buffers is None else buffers
    near = {name: tensor.detach() for name, tensor in tensors.items() if tensor.device.type == "cpu"}
    copies = {name: _copy(tensor, buffers.get(name)) for name, tensor in near.items()}
    buffers.clear()
    buffers.update(copies)
    far = {name: tensor.detach() for name, tensor in tensors.items() if name not in near}
    if not far:
        return Copies(copies, nothing)
    try:
        arriving, wait = fetched(far)
    except torch.OutOfMemoryError:  # no room to gather them: one after the other, waiting for each
        arriving, wait = {name: _copy(tensor, None) for name, tensor in far.items()}, nothing
    return Copies({**copies, **arriving}, wait)


def fetched(tensors: Mapping[str, Tensor]) -> Copies:
    """Copy tensors of one device to the CPU, gathered there by type; contiguous, as parts of one piece each."""
    copies: dict[str, Tensor] = {}
    device = next(iter(tensors.values())).device
    stream = None if device.type == "cpu" else _stream(device)
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors.values()):
        names = [name for name, tensor in tensors.items() if tensor.dtype == dtype]
        gathered = torch.cat([tensors[name].reshape(-1) for name in names])
        arriving = gathered if stream is None else _sent(gathered, stream)
        for name, part in zip(names, arriving.split([tensors[name].numel() for name in names]), strict=True):  # type: ignore[no-untyped-call]
            copies[name] = part.view(tensors[name].shape)
    return Copies(copies, nothing if stream is None else stream.record_event().synchronize)


def _sent(gathered: Tensor, stream: torch.cuda.Stream) -> Tensor:
    """Return pinned memory to which a stream copies a tensor, once it is computed."""
    stream.wait_stream(torch.cuda.current_stream(gathered.device))
    arriving = torch.empty(gathered.shape, dtype=gathered.dtype, pin_memory=True)
    with torch.cuda.stream(stream):
        arriving.copy_(gathered, non_blocking=True)
    gathered.record_stream(stream)  # its memory is not given away before it is read
    return arriving


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _copy(tensor: Tensor, buffer: Tensor | None) -> Tensor:
    if buffer is None or (buffer.shape, buffer.dtype) != (tensor.shape, tensor.dtype):
        buffer = torch.empty(tensor.shape, dtype=tensor.dtype)
    return buffer.copy_(tensor)
