"""CUDA streams, each for one kind of work.

torch hands out 32 of them in turn, so the 33rd is the first one again. A stream whose work somebody records may be
nobody else's: whatever reaches it meanwhile, from another thread too, becomes part of the recording or spoils it.
"""

from __future__ import annotations

from threading import Lock

import torch

_SHARED: dict[tuple[torch.device, str], torch.cuda.Stream] = {}
_LOCK = Lock()


def stream_for(use: str, device: torch.device) -> torch.cuda.Stream:
    """Return the stream of a device for one kind of work, the same one at each call."""
    with _LOCK:
        if (device, use) not in _SHARED:
            _SHARED[device, use] = _unshared(device)
        return _SHARED[device, use]


def new_stream(device: torch.device) -> torch.cuda.Stream:
    """Return a stream that `stream_for` gives to nobody, so far."""
    with _LOCK:
        return _unshared(device)


def _unshared(device: torch.device) -> torch.cuda.Stream:
    taken = [stream for (where, _), stream in _SHARED.items() if where == device]
    while (stream := torch.cuda.Stream(device)) in taken:  # type: ignore[no-untyped-call]
        pass
    return stream
