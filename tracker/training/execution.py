"""How a trial's steps are carried out: plainly, or with accelerations that compute the same up to rounding.

The plain path is simple and eager; tests and `tracker.training.selfcheck` hold every other one against it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

from tracker.study.accelerations import ACCELERATIONS, parse_accelerations
from tracker.study.recipe import Precision
from tracker.training.precision import set_precision
from tracker.vision.kernels.indexed import keep_compiled
from tracker.vision.kernels.library import KernelUnavailable, cache_folder
from tracker.vision.models import Classifier
from tracker.vision.rewrites.rewriting import REWRITES, rewrite

CHANNELS_LAST: Final = "channels_last"
FUSED_OPTIMIZER: Final = "fused_optimizer"
FUSED_INPUT: Final = "fused_input"
COMPILE: Final = "compile"
CUDA_GRAPH: Final = "cuda_graph"
COMPILED_SIZES: Final = 64
"""Variants of compiled code a process keeps before torch goes on without compiling; torch's own limit is 8."""


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

    On a CPU that is everything but `torch.compile`, whose seconds a trial rarely earns back there, and CUDA's graphs;
    on GPUs nothing has been measured yet.
    """
    return Execution(frozenset(ACCELERATIONS) - {COMPILE, CUDA_GRAPH}) if device.type == "cpu" else PLAIN


def parse_execution(text: str, device: torch.device) -> Execution:
    """Read `auto`, `plain`, or names of accelerations with commas between them.

    Raises:
        UsageError: another word.
    """
    names = parse_accelerations(text)
    return usual_execution(device) if names is None else Execution(names)


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
    rewrite(classifier.network, [name for name in REWRITES if name in execution])
    classifier.to(device)
    if CHANNELS_LAST in execution:
        classifier.to(memory_format=torch.channels_last)
    if COMPILE in execution:
        _compile(classifier.network)
    return classifier


def _compile(network: nn.Module) -> None:
    """Let a network be compiled at its first call with each size of batch; its state_dict stays what it was.

    Writes: what torch compiles, into this user's cache folder, where other trials and processes find it.
    """
    with suppress(KernelUnavailable):  # no home directory: torch takes a temporary folder
        keep_compiled(cache_folder())
    # A network is compiled for whole and short batches, in training and evaluation, and a worker trains several.
    torch._dynamo.config.recompile_limit = max(COMPILED_SIZES, torch._dynamo.config.recompile_limit)
    network.compile(dynamic=False)
