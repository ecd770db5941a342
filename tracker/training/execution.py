"""How a trial's steps are carried out: plainly, or with accelerations that compute the same up to rounding.

The plain path is simple and eager; tests and `tracker.training.selfcheck` hold every other one against it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from tracker.study.accelerations import ACCELERATIONS, parse_accelerations
from tracker.study.recipe import Precision
from tracker.training.precision import set_precision
from tracker.vision.kernels.indexed import keep_compiled, keep_compiling
from tracker.vision.kernels.library import KernelUnavailable, cache_folder
from tracker.vision.models import Classifier
from tracker.vision.rewrites.rewriting import REWRITES, rewrite

CHANNELS_LAST: Final = "channels_last"
FUSED_OPTIMIZER: Final = "fused_optimizer"
FUSED_INPUT: Final = "fused_input"
COMPILE: Final = "compile"
CUDNN_BENCHMARK: Final = "cudnn_benchmark"
CUDA_GRAPH: Final = "cuda_graph"
CUDA_ONLY: Final = {
    CUDNN_BENCHMARK: "cuDNN is a library of CUDA devices",
    CUDA_GRAPH: "graphs are recorded on CUDA devices",
}
"""Accelerations that no CPU has, and why."""


@dataclass(frozen=True)
class Execution:
    """Which accelerations a trial is trained with.

    Args:
        names: of `ACCELERATIONS`; none is the plain path.
    """

    names: frozenset[str] = frozenset()

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def without(self, name: str) -> Execution:
        """Return the same without one acceleration."""
        return Execution(self.names - {name})

    def __str__(self) -> str:
        """Name them in one order, for tags and messages."""
        return ", ".join(name for name in ACCELERATIONS if name in self.names) or "plain"


PLAIN = Execution()


def usual_execution(device: torch.device) -> Execution:
    """Return what a device is trained with unless somebody chooses: what was run on one of its kind, and paid.

    On a CPU that is everything it has but `torch.compile`, whose seconds a trial rarely earns back there; on GPUs
    nothing has been measured yet.
    """
    return Execution(frozenset(ACCELERATIONS) - {COMPILE, *CUDA_ONLY}) if device.type == "cpu" else PLAIN


def parse_execution(text: str, device: torch.device) -> Execution:
    """Read `auto`, `plain`, or names of accelerations with commas between them.

    Raises:
        UsageError: another word.
    """
    names = parse_accelerations(text)
    return usual_execution(device) if names is None else Execution(names)


def attainable(wanted: Execution, device: torch.device, say: Callable[[str], None] = lambda _: None) -> Execution:
    """Return what of an execution a device of this kind can have at all.

    Args:
        say: told what is left out.
    """
    if device.type == "cuda":
        return wanted
    for name, reason in CUDA_ONLY.items():
        if name in wanted:
            say(f"{name} is left out: {reason}, and this is a {device.type.upper()}")
            wanted = wanted.without(name)
    return wanted


def prepare(
    classifier: Classifier, device: torch.device, execution: Execution, precision: Precision = "fp32"
) -> Classifier:
    """Bring a classifier to the device, in place, ready for an execution; its state_dict stays what it was.

    Args:
        classifier: as it is built.
        precision: the recipe's.

    Raises:
        DeviceError: the device cannot compute in that precision.
    """
    set_precision(classifier, device, precision)
    set_kernel_choice(device, execution)
    rewrite(classifier.network, [name for name in REWRITES if name in execution])
    classifier.to(device)
    if CHANNELS_LAST in execution:
        classifier.to(memory_format=torch.channels_last)
    if COMPILE in execution:
        _compile(classifier.network)
    return classifier


def set_kernel_choice(device: torch.device, execution: Execution = PLAIN) -> None:
    """Let cuDNN try its kernels, or choose by its rules as it does by itself, in the whole process."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = CUDNN_BENCHMARK in execution


def _compile(network: nn.Module) -> None:
    """Let a network be compiled at its first call with each size of batch; its state_dict stays what it was.

    Writes: what torch compiles, into this user's cache folder, where other trials and processes find it.
    """
    with suppress(KernelUnavailable):  # no home directory: torch takes a temporary folder
        keep_compiled(cache_folder())
    keep_compiling()
    network.compile(dynamic=False)
