"""Which device a trial runs on."""

from __future__ import annotations

import re

import torch

from tracker.study.errors import DeviceError, UsageError


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
