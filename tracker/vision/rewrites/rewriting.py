"""Switching rewrites on and off, in place.

A rewritten module is of another class, one derived from its own, with another `forward`. Its tensors, their names,
its children and its hooks are what they were, so checkpoints, optimizers and copies know of nothing. Modules of
other classes than torch's and torchvision's own, derived ones included, are left alone.

While a program is exported the networks are as torchvision wrote them, and so are dense blocks while
`torch.compile` looks at them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from torch import nn

from tracker.study.errors import UsageError
from tracker.vision.rewrites.centre_tap import CentreTapConv2d, centre_taps
from tracker.vision.rewrites.change import Change
from tracker.vision.rewrites.running_concatenation import RunningBlock, RunningLayer, running_blocks
from tracker.vision.rewrites.step_counters import UNCOUNTED, uncounted

Rewrite = Literal["centre_tap", "running_concatenation", "no_step_counters"]
"""centre_tap: a padded convolution whose output is one pixel reads the taps that are on the map only.
running_concatenation: a dense block concatenates as it goes.
no_step_counters: BatchNorm's `num_batches_tracked` stays as it is."""

REWRITES: tuple[Rewrite, ...] = get_args(Rewrite)

_CHANGES: dict[Rewrite, Callable[[nn.Module], Iterator[Change]]] = {
    "centre_tap": centre_taps,
    "running_concatenation": running_blocks,
    "no_step_counters": uncounted,
}
_CLASSES: dict[Rewrite, frozenset[type[nn.Module]]] = {
    "centre_tap": frozenset({CentreTapConv2d}),
    "running_concatenation": frozenset({RunningBlock, RunningLayer}),
    "no_step_counters": frozenset(UNCOUNTED.values()),
}


def rewrite(network: nn.Module, names: Iterable[Rewrite] = REWRITES) -> list[Rewrite]:
    """Switch rewrites on; those that are on stay so.

    Args:
        network: changed in place.
        names: of the rewrites.

    Returns:
        The names of those that are on somewhere in the network now, among `names`.

    Raises:
        UsageError: there is no such rewrite.
    """
    wanted = _checked(names)
    for name in wanted:
        for module, kind in list(_CHANGES[name](network)):
            module.__class__ = kind
    kinds = {type(module) for module in network.modules()}
    return [name for name in wanted if kinds & _CLASSES[name]]


def undo(network: nn.Module, names: Iterable[Rewrite] = REWRITES) -> None:
    """Switch rewrites off: their modules are of torch's and torchvision's classes again.

    Raises:
        UsageError: there is no such rewrite.
    """
    classes = frozenset[type[nn.Module]]().union(*(_CLASSES[name] for name in _checked(names)))
    for module in network.modules():
        if type(module) in classes:
            module.__class__ = type(module).__bases__[-1]


@contextmanager
def plain(network: nn.Module) -> Iterator[nn.Module]:
    """Switch all rewrites off for a while."""
    rewritten = [(module, type(module)) for module in network.modules()]
    undo(network)
    try:
        yield network
    finally:
        for module, kind in rewritten:
            module.__class__ = kind


def _checked(names: Iterable[Rewrite]) -> list[Rewrite]:
    """Return names in the order of `REWRITES`, each once.

    Raises:
        UsageError: one of them is no rewrite.
    """
    given = [names] if isinstance(names, str) else list(names)
    for name in given:
        if name not in REWRITES:
            raise UsageError(f"{name!r} is not a rewrite", f"accepted: {', '.join(REWRITES)}")
    return [name for name in REWRITES if name in given]
