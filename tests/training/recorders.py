"""A recorder that needs no GPU, and others that go wrong.

A CUDA graph is the kernels that a piece of work started, with the addresses and the numbers they were given. On the CPU
the same is torch's operations, with the tensors and the numbers they were given: they are written down while the work
runs, and a replay is those operations once more, without a line of the work's Python. A number that should have been
a tensor, a tensor that is another one the next time, or a look at a value shows here as it would there.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tracker.training.graphs import Work
from tracker.training.stepper import PlainStepper

WAITING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero", "aten::masked_select")
"""Operations for which the host waits, or whose size depends on values: no graph can hold them."""

Call = tuple[Any, tuple[Any, ...], dict[str, Any], Any]
"""An operation, what it was given, and what came out."""


class _Tape(TorchDispatchMode):
    """Writes down every operation."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.name().partition(".")[0] in WAITING:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func.name()}\nand a long story")
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out


class Repeater:
    """Records as CUDA does: while the work is recorded it changes no tensor; each replay does.

    Attributes:
        counts: how often work was `rehearsed`, `recorded` and `replayed`.
        made: what was recorded, as long as somebody keeps it.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.made: list[weakref.ref[Work]] = []

    def rehearse(self, work: Work) -> None:
        """Do it."""
        self.counts["rehearsed"] += 1
        work()

    def record(self, work: Work) -> Work:
        """Return what does it again."""
        replay = partial(self._replay, self._taped(work))
        self.counts["recorded"] += 1
        self.made.append(weakref.ref(replay))
        return replay

    @torch.inference_mode()
    def _replay(self, calls: list[Call]) -> None:
        self.counts["replayed"] += 1
        for func, args, kwargs, out in calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():  # views are where they were
                    old.copy_(new)

    def _taped(self, work: Work) -> list[Call]:
        before = [(tensor, tensor.clone()) for tensor in _touched(work)]
        random = torch.get_rng_state()
        try:
            with _Tape() as tape:
                work()
        finally:
            torch.set_rng_state(random)
            with torch.no_grad():
                for tensor, value in before:
                    tensor.copy_(value)
        return tape.calls


class Refusing(Repeater):
    """Cannot record the nth piece of work: it fails when all of it has run, as a graph that cannot be made does."""

    def __init__(self, nth: int) -> None:
        super().__init__()
        self._nth = nth

    def record(self, work: Work) -> Work:
        """Fail at the nth."""
        if self.counts["recorded"] == self._nth:
            self._taped(work)
            raise RuntimeError("operation not permitted when stream is capturing\nand a long story")
        return super().record(work)


class Forgetful(Repeater):
    """Records something else: what it replays leaves out every other time, or what a test says."""

    def __init__(self, spoil: Callable[[Work], Work]) -> None:
        super().__init__()
        self._spoil = spoil

    def record(self, work: Work) -> Work:
        """Return something else."""
        return self._spoil(super().record(work))


def _touched(work: Any) -> list[Tensor]:
    """Return every tensor that a step, or the judging of a batch, changes in place."""
    found = [value for value in _fields(getattr(work, "__self__", None)) if isinstance(value, Tensor)]
    owner = getattr(getattr(work, "func", None), "__self__", None)
    for stepper in [owner] if isinstance(owner, PlainStepper) else getattr(owner, "members", []):
        found += stepper.classifier.state_dict().values()
        found += [value for value in _fields(stepper.tally) if isinstance(value, Tensor)]
        found += [
            value for kept in stepper.optimizer.state.values() for value in kept.values() if isinstance(value, Tensor)
        ]
    assert found, "a piece of work of a kind that is not known"
    return found


def _fields(thing: object) -> list[object]:
    return list(getattr(thing, "__dict__", {}).values())
