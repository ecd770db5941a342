"""Images of a split that is not on the device, brought there ahead of their use.

Threads gather the next batches from the memory map into pinned memory and start their copies on a stream of their
own; what uses a batch waits on the device for its copy, not on the host.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice

import torch
from torch import Tensor

from tracker.training.streams import stream_for

THREADS = 2
AHEAD = 4
"""Batches on their way, or waiting to be used."""

Arriving = tuple[Tensor, torch.cuda.Event | None]
"""Images on the device, and when they are there; None: now."""


def staged(
    source: Tensor, pieces: Sequence[Tensor], device: torch.device, threads: int | None = None
) -> Generator[Tensor, None, None]:
    """Yield the images of each piece on the device, in the order of the pieces.

    Args:
        source: uint8, (N, C, H, W), on the CPU.
        pieces: int64, (B,), places in it.
        threads: that gather; by default `THREADS`.
    """
    stream = stream_for("images", device) if device.type == "cuda" else None
    fetch = partial(_fetch, source, stream)
    todo = iter(pieces)
    with ThreadPoolExecutor(threads or THREADS, thread_name_prefix="images") as pool:
        arriving: deque[Future[Arriving]] = deque(pool.submit(fetch, piece) for piece in islice(todo, AHEAD))
        try:
            while arriving:
                images, there = arriving.popleft().result()
                arriving.extend(pool.submit(fetch, piece) for piece in islice(todo, 1))
                if there is not None:
                    current = torch.cuda.current_stream(device)
                    current.wait_event(there)
                    images.record_stream(current)  # its memory is not given away while that stream may read it
                yield images
        finally:
            for future in arriving:
                future.cancel()


def _fetch(source: Tensor, stream: torch.cuda.Stream | None, piece: Tensor) -> Arriving:
    """Gather images, and start their way to the stream's device."""
    if stream is None:
        return source.index_select(0, piece), None
    pinned = torch.empty((len(piece), *source.shape[1:]), dtype=source.dtype, pin_memory=True)
    torch.index_select(source, 0, piece, out=pinned)
    with torch.cuda.stream(stream):
        images = pinned.to(stream.device, non_blocking=True)
        return images, stream.record_event()
