"""Which device a trial runs on, with how many threads, and whether its memory was too small."""

from __future__ import annotations

import gc
import os
import re

import torch

from tracker.study.errors import DeviceError, UsageError

OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED", re.IGNORECASE)
"""How torch says it where it has no exception of its own: the CPU's allocator, cuBLAS, old CUDA calls."""


def resolve_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into a device that is there.

    Raises:
        UsageError: another word.
        DeviceError: no such device on this machine.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", name):
        raise UsageError(f"--device {name!r} is not a device", "accepted: auto, cpu, cuda, cuda:1")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        built = (
            f"torch {torch.__version__} was built for CUDA {torch.version.cuda}"
            if torch.version.cuda
            else (f"torch {torch.__version__} is a build without CUDA")
        )
        raise DeviceError(
            f"--device {name}: no CUDA device can be used here; {built}", "--device cpu, or mend the driver"
        )
    index = int(name.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise DeviceError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices")
    return torch.device("cuda", index)


def describe_device(device: torch.device) -> str:
    """Return a name for logs: `NVIDIA H200` or `CPU, 2 threads`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def threads_of(slots: int) -> int:
    """Return how many CPU threads each of so many trials may use; OMP_NUM_THREADS is the most."""
    cores = len(os.sched_getaffinity(0))
    given = os.environ.get("OMP_NUM_THREADS", "")
    most = int(given) if given.isdigit() and int(given) else cores
    return max(1, min(most, cores // max(1, slots)))


def give_back_memory(device: torch.device) -> None:
    """Give back to the device what this process keeps for later: another one needs it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()  # of all devices; a process that has not begun with CUDA does not do so now


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory, the device's or the machine's, was too small."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(OUT_OF_MEMORY.search(str(error)))
