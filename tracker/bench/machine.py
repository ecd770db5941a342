"""What the machine is, and the most it gives: arithmetic and copying."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from tracker import __version__
from tracker.study.recipe import Precision, Recipe
from tracker.tracking.environment import git_state
from tracker.training import mps
from tracker.training.device import describe_device, threads_of
from tracker.training.precision import set_tf32
from tracker.training.verdicts import gpu_libraries
from tracker.vision.models import build_network

SIDE = {"cpu": 1024, "cuda": 8192}
"""Of the square matrices that are multiplied."""
COPIED_BYTES = {"cpu": 1 << 28, "cuda": 1 << 30}
TIMES = 5
COUNTED = 2
"""Images of the batch whose arithmetic is counted."""


@contextmanager
def as_in_a_worker() -> Iterator[None]:
    """Compute in as many threads as the lone worker of a sweep has."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads_of(1))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def facts(device: torch.device) -> dict[str, str]:
    """Return what a result is worth nothing without."""
    found = {
        "device": describe_device(device),
        "cpu": _cpu_name(),
        "cores": str(len(os.sched_getaffinity(0))),
        "threads": str(torch.get_num_threads()),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    found |= {"norm-tracker": __version__}  # by itself: it may be on Python's path only
    found |= {package: version(package) for package in ("torch", "torchvision", "pillow")}
    if state := git_state(Path(__file__).parent):
        commit, changed = state
        found["commit"] = commit + (", changed" if changed else "")
    if device.type == "cuda":
        found |= {"libraries": gpu_libraries(), "mps": "yes" if mps.serves() else "no"}
    return found


def peak_flops(device: torch.device, precision: Precision = "fp32") -> float:
    """Return floating-point operations a second of a large product of matrices: what convolutions are held to."""
    if device.type == "cuda":
        set_tf32(precision == "tf32")
    side, kind = SIDE[device.type], torch.bfloat16 if precision == "bf16" else torch.float32
    one, other = (torch.rand(side, side, device=device).to(kind) for _ in range(2))
    return 2 * side**3 / _seconds(lambda: one @ other, device)


def copy_bandwidth(device: torch.device) -> float:
    """Return bytes a second, read and written, of a copy on the device."""
    source = torch.zeros(COPIED_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _seconds(lambda: target.copy_(source), device)


def step_flops(recipe: Recipe, size: int, classes: int) -> float:
    """Count the floating-point operations of a training step for one image, in the plain network."""
    network, _ = build_network(recipe.model, channels=3, classes=classes, seed=recipe.seed)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(COUNTED, 3, size, size)).sum().backward()
    return float(counter.get_total_flops()) / COUNTED


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the median time of a piece of work, after one that does not count."""
    measured = []
    for _ in range(TIMES + 1):
        begun = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        measured.append(time.perf_counter() - begun)
    return statistics.median(measured[1:])


def _cpu_name() -> str:
    """Return the processor's name, as Linux tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
