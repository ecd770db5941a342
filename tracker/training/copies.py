"""Copies of tensors on the CPU, taken while the device goes on.

What lies on a GPU is gathered there into one piece of memory for each type, in its turn among the steps, and goes to
pinned memory from there on a stream of its own: a network and its optimizer are up to 2,400 tensors, and a copy of each
would be waited for. The pieces and their parts are laid out once, since the host takes longer for that than for all
else. Whoever reads a copy waits for it first, in whichever thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import is_
from typing import NamedTuple

import torch
from torch import Tensor

from tracker.training.device import is_out_of_memory
from tracker.training.streams import stream_for

ALIGNED = 16
"""Numbers after which a part of a piece begins: kernels read four at a time, from where that is allowed."""


def nothing() -> None:
    """Wait for nothing."""


class Copies(NamedTuple):
    """Tensors on the CPU that training does not change any more.

    Args:
        tensors: from the CPU contiguous, from a device as they lie there.
        wait: to be called before the first of them is read.
    """

    tensors: dict[str, Tensor]
    wait: Callable[[], None]


class Copier:
    """Copies tensors to the CPU, wherever they are, into memory that is used again.

    New memory takes ten times as long to touch as old memory to overwrite.

    Args:
        places: for copies; the next one overwrites the last, unless that one is to hold and there is another place.
    """

    def __init__(self, places: int = 1) -> None:
        self._near = [dict[str, Tensor]() for _ in range(places)]
        self._place = self._last = 0
        self._gathering: Gathering | None = None

    def hold(self) -> None:
        """Let the last copy hold until as many later ones were to hold as there are other places."""
        self._place = (self._last + 1) % len(self._near)

    def copy(self, tensors: Mapping[str, Tensor]) -> Copies:
        """Copy tensors; the same ones as in the call before are copied soonest."""
        here: dict[str, Tensor] = {}
        far: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            (here if tensor.is_cpu else far)[name] = tensor
        place = self._last = self._place
        near = _overwrite(self._near[place], here)
        if not far:
            return Copies(near, nothing)
        try:
            if self._gathering is None or not self._gathering.is_of(far):
                self._gathering = None  # free the old one before the new one is made
                self._gathering = Gathering(far, len(self._near))
            arriving, wait = self._gathering.fetch(place)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            # No room to gather them, there or here: one after the other, waiting for each.
            arriving, wait = {name: tensor.detach().cpu() for name, tensor in far.items()}, nothing
        return Copies({**near, **arriving}, wait)


class Gathering:
    """Where tensors of one device are gathered, and where they arrive.

    Args:
        tensors: which may have other values at each `fetch`, in the same memory.
        places: as of `Copier`.
    """

    def __init__(self, tensors: Mapping[str, Tensor], places: int = 1) -> None:
        self._tensors = dict(tensors)
        self._addresses = [tensor.data_ptr() for tensor in tensors.values()]
        self._device = next(iter(tensors.values())).device
        self._sent: torch.cuda.Event | None = None
        # One tensor with gaps between its numbers would let torch copy all that are with it one by one.
        groups: dict[tuple[torch.dtype, bool], dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            dense = _strides(tensor) == tensor.stride()
            groups.setdefault((tensor.dtype, dense), {})[name] = tensor.detach()
        self._pieces = [_Piece(group, self._device, places) for group in groups.values()]
        self._landed = [
            {name: part for piece in self._pieces for name, part in piece.landed[place].items()}
            for place in range(places)
        ]

    def is_of(self, tensors: Mapping[str, Tensor]) -> bool:
        """Return whether these are the tensors, by the same names, that this was laid out for."""
        return (
            len(tensors) == len(self._tensors)
            and all(map(is_, tensors.values(), self._tensors.values()))
            and [tensor.data_ptr() for tensor in tensors.values()] == self._addresses
            and list(tensors) == list(self._tensors)
        )

    @torch.no_grad()
    def fetch(self, place: int = 0) -> Copies:
        """Copy the tensors as they are at this point of the device's work, to one of the places."""
        landed = dict(self._landed[place])
        if self._device.type != "cuda":
            for piece in self._pieces:
                piece.gather()
                piece.arriving[place].copy_(piece.gathered)
            return Copies(landed, nothing)
        stream, current = stream_for("copies", self._device), torch.cuda.current_stream(self._device)
        if self._sent is not None:
            current.wait_event(self._sent)  # the last copy reads what is now gathered anew
        for piece in self._pieces:
            piece.gather()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            for piece in self._pieces:
                piece.arriving[place].copy_(piece.gathered, non_blocking=True)
                piece.gathered.record_stream(stream)  # its memory is not given away before it is read
            self._sent = stream.record_event()
        return Copies(landed, self._sent.synchronize)


class _Piece:
    """Tensors of one type, in one piece of memory on the device and one a place on the CPU, in the same order.

    Parts lie as their tensors do, channels together or not, so that one call copies many.
    """

    def __init__(self, tensors: Mapping[str, Tensor], device: torch.device, places: int) -> None:
        self._tensors = list(tensors.values())
        offsets, count = [], 0
        for tensor in self._tensors:
            offsets.append(count)
            count += -(-tensor.numel() // ALIGNED) * ALIGNED
        dtype = self._tensors[0].dtype

        def parts(piece: Tensor) -> list[Tensor]:
            return [
                piece.as_strided(tensor.shape, _strides(tensor), offset)
                for tensor, offset in zip(self._tensors, offsets, strict=True)
            ]

        self.gathered = torch.zeros(count, dtype=dtype, device=device)
        self._parts = parts(self.gathered)
        self.arriving = [torch.empty(count, dtype=dtype, pin_memory=device.type == "cuda") for _ in range(places)]
        self.landed = [dict(zip(tensors, parts(piece), strict=True)) for piece in self.arriving]

    def gather(self) -> None:
        torch._foreach_copy_(self._parts, self._tensors)


def _strides(tensor: Tensor) -> tuple[int, ...]:
    """Return strides without gaps or overlaps, in the tensor's own order: its own ones where it has neither."""
    return torch.empty_like(tensor, device="meta").stride()


def _overwrite(buffers: dict[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors of the CPU into buffers of the same names, new ones where those do not fit."""
    copies: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        buffer = buffers.get(name)
        if buffer is None or (buffer.shape, buffer.dtype) != (tensor.shape, tensor.dtype):
            buffer = torch.empty(tensor.shape, dtype=tensor.dtype)
        copies[name] = buffer
    buffers.clear()
    buffers.update(copies)
    if copies:
        with torch.no_grad():
            torch._foreach_copy_(list(copies.values()), list(tensors.values()))
    return copies
