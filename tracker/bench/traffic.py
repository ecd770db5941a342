"""The least that a training step must move between memory and processor, to hold the time it takes against.

The model, of the plain network, as if every operation met its operands once:

- forward, an operation reads its inputs and writes its output;
- backward, it reads its inputs and its output's gradient again, and writes its inputs' gradients; the network's own
  input has none;
- what a kernel can do to a value that it has at hand costs nothing: an operation in place (a ReLU), a view, a cast,
  a concatenation. A second operand of one (a residual connection) is read, and its gradient written;
- a weight is read forward and backward and its gradient written; the optimizer reads weight, gradient and moments and
  writes weight and moments;
- BatchNorm's statistics and the bytes of stored images are left out: they are thousands of times less.

A cache that holds an operation's output for the next one saves some of it, so a share can be above 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tracker.study.recipe import Recipe
from tracker.training.execution import PLAIN, prepare
from tracker.vision.models import Classifier, build_network

COUNTED = 2
"""Images of the batch that is counted."""
MOMENTS = {"adam": 2, "adamw": 2, "sgd": 1}
"""Numbers that an optimizer remembers for each weight."""

aten = torch.ops.aten
FREE = {aten.cat.default, aten._to_copy.default}
"""Operations that make a new tensor which a kernel need not make."""


@dataclass(frozen=True)
class Traffic:
    """Bytes that a step moves at least.

    Args:
        image: for each image of the batch.
        step: whatever the batch.
    """

    image: float
    step: float

    def of(self, batch_size: int) -> float:
        """Return those of a step."""
        return self.image * batch_size + self.step


def step_traffic(recipe: Recipe, size: int, classes: int) -> Traffic:
    """Count what a step of the plain network moves, in the recipe's precision."""
    network, head = build_network(recipe.model, channels=3, classes=classes, seed=recipe.seed)
    classifier = Classifier(nn.Identity(), network, head, 3)
    prepare(classifier, torch.device("cpu"), PLAIN, "bf16" if recipe.precision == "bf16" else "fp32")
    classifier.train_mode("full")
    moved = count_traffic(classifier.network, torch.zeros(COUNTED, 3, size, size))
    weights = sum(weight.nbytes for weight in network.parameters())
    optimizer = 3 + 2 * MOMENTS[recipe.optimizer]
    return Traffic(image=moved / COUNTED, step=float(weights * (3 + optimizer)))


def count_traffic(network: nn.Module, images: Tensor) -> int:
    """Return the bytes of activations and of their gradients that a network in training mode moves, both ways."""
    with _Counter([*network.parameters(), *network.buffers()]) as counter:
        network(images)
    return int(counter.moved)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up what operations move, forward and backward, while they are done forward.

    Args:
        fixed: weights and statistics, which are counted apart.
    """

    def __init__(self, fixed: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.moved = 0
        self._fixed = {_place(tensor) for tensor in fixed}
        self._kept: list[object] = []  # so that no place in memory is used twice

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [each for each in tree_leaves((args, dict(kwargs))) if isinstance(each, Tensor)]
        result = func(*args, **kwargs)
        made = [each for each in tree_leaves(result) if isinstance(each, Tensor)]
        self._kept += made
        known = {_place(tensor) for tensor in given}
        inputs = [tensor for tensor in given if _place(tensor) not in self._fixed]
        if known and known <= self._fixed:  # a weight's other view or its copy in another precision
            self._fixed |= {_place(tensor) for tensor in made}
        elif func in FREE:
            pass
        elif all(_place(tensor) in known for tensor in made):
            self.moved += sum(2 * other.nbytes for other in inputs[1:] if other.is_floating_point())
        else:
            self.moved += sum((3 if tensor.requires_grad else 2) * tensor.nbytes for tensor in inputs)
            self.moved += 2 * made[0].nbytes
        return result


def _place(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
