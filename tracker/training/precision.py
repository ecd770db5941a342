"""What a network computes in while it is trained: the recipe's `precision`.

`fp32` and `tf32` are settings of torch's CUDA libraries for the whole process. torch's own default lets cuDNN round
what convolutions read to TF32; here `fp32` is fp32.

`bf16` is a property of the network. In training mode its convolutions and matrix products read and write bfloat16 and
add up in fp32, except the first layer, which sees the images, and the head. Weights, their gradients, the optimizer's
state, and BatchNorm's parameters and statistics stay fp32. The first values that are rounded are those that the
BatchNorm after the first layer gives: before it they still have the offset that a normalization leaves in them, which
would take bits away, and not the same number from each normalization. In evaluation mode all is fp32.

As with the rewrites, a changed module is of a class derived from its own: tensors, names and hooks are what they were.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from tracker.study.errors import DeviceError
from tracker.study.recipe import Precision
from tracker.training.device import describe_device
from tracker.vision.models import Classifier
from tracker.vision.stem import stem_norm


def require_precision(precision: Precision, device: torch.device) -> None:
    """See that a device computes in a precision, since it is part of what a cell is.

    Raises:
        DeviceError: it would quietly compute in another, or not at all.
    """
    if precision == "tf32" and not (device.type == "cuda" and _ask(torch.cuda.is_tf32_supported, device)):
        raise DeviceError(
            f"recipe.precision tf32: {_name(device)} cannot compute in it, and would compute in fp32",
            "recipe.precision: fp32 or bf16; or --device cuda with a GPU that has TF32 (NVIDIA's since Ampere)",
        )
    if precision == "bf16" and device.type == "cuda" and not _ask(torch.cuda.is_bf16_supported, device):
        raise DeviceError(f"recipe.precision bf16: {_name(device)} cannot compute in it", "recipe.precision: fp32")


def slowness(precision: Precision, device: torch.device) -> str | None:
    """Say that a device has no instructions for a precision and takes longer with it; None where it has some."""
    if precision != "bf16":
        return None
    if device.type == "cuda":
        fast = _ask(partial(torch.cuda.is_bf16_supported, including_emulation=False), device)
    else:
        fast = cpu_has_bf16() is not False
    if fast:
        return None
    return (
        f"recipe.precision bf16: {_name(device)} has no instructions for it: results are bf16's, but training takes "
        "several times as long as in fp32"
    )


def cpu_has_bf16() -> bool | None:
    """Return whether the processor has instructions for bfloat16; None where torch does not tell."""
    abilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.11 has no such function
    known = [present for ability, present in abilities.items() if ability.endswith("bf16")]
    return any(known) if known else None


def _name(device: torch.device) -> str:
    return "this CPU" if device.type == "cpu" else describe_device(device)


def _ask(question: Callable[[], bool], device: torch.device) -> bool:
    with torch.cuda.device(device):  # torch answers for the current one
        return bool(question())


def set_precision(classifier: Classifier, device: torch.device, precision: Precision) -> None:
    """Let a classifier compute in a precision, in place, and the process's CUDA libraries too; before any rewrite.

    Args:
        classifier: as it is built.

    Raises:
        DeviceError: the device cannot.
    """
    require_precision(precision, device)
    if device.type == "cuda":
        set_tf32(precision == "tf32")
    if precision == "bf16":
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False  # sums of products in fp32
        _in_bfloat16(classifier)


def set_tf32(on: bool) -> None:
    """Switch TF32 on or off for matrix products and for convolutions, in the whole process.

    By the old names and by the new: with the new ones alone, reading an old one is an error, and torch's own compiler
    reads both (seen with 2.15; pytorch#179445). Versions before 2.15 advise against the old ones.
    """
    warnings.filterwarnings("ignore", message="Please use the new API settings to control TF32")
    torch.backends.cuda.matmul.allow_tf32 = on
    torch.backends.cudnn.allow_tf32 = on
    torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.fp32_precision = "tf32" if on else "ieee"


def _in_bfloat16(classifier: Classifier) -> None:
    network = classifier.network
    if isinstance(network, _Bfloat16):
        return
    norm = stem_norm(network)
    if norm is not None:
        norm.register_forward_hook(_rounded)
    for layer in {_first_layer(network), classifier.head}:
        layer.__class__ = _derived(_Float32, type(layer))
    network.__class__ = _derived(_Bfloat16, type(network))
    network._trained_head = classifier.head_name  # type: ignore[assignment]


def _first_layer(network: nn.Module) -> nn.Module:
    """Return the layer that sees the images: the first convolution, else the first linear layer."""
    for kind in (_ConvNd, nn.Linear):
        for module in network.modules():
            if isinstance(module, kind):
                return module
    raise AssertionError("a network has a head, so it has a layer")


class _Bfloat16(nn.Module):
    """A network that is trained in bfloat16.

    Which mode it is in, the head tells: a frozen backbone is in evaluation mode while the head is trained. Autocast
    keeps no copies of weights: each is read once, and a CUDA graph could not use those of another step.
    """

    _trained_head: str

    def forward(self, *inputs: Tensor) -> Any:
        """Return logits, float32."""
        if not self.get_submodule(self._trained_head).training:
            return super().forward(*inputs)
        with torch.autocast(inputs[0].device.type, torch.bfloat16, cache_enabled=False):
            logits = super().forward(*inputs)
        return logits.float()


class _Float32(nn.Module):
    """A layer that computes in fp32 in a network that does not."""

    def forward(self, input: Tensor) -> Any:
        """Return float32."""
        if not torch.is_autocast_enabled(input.device.type):
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def _rounded(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Round what a module gives to bfloat16 while the network computes in it."""
    return output.bfloat16() if torch.is_autocast_enabled(output.device.type) else output


def _derived(kind: type[nn.Module], base: type[nn.Module]) -> type[nn.Module]:
    """Return the class that is `kind` and `base`, always the same; torch's parametrizations are made in this way."""
    if (kind, base) not in _DERIVED:
        name = f"{kind.__name__.lstrip('_')}{base.__name__}"
        _DERIVED[kind, base] = type(name, (kind, base), {"__module__": __name__})
    return _DERIVED[kind, base]


_DERIVED: dict[tuple[type[nn.Module], type[nn.Module]], type[nn.Module]] = {}
"""By what they are derived from; code that `torch.compile` has made belongs to a class."""
