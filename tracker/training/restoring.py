"""A training state put back: does it fit the classifier and the optimizer, and then into both or neither."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

from tracker.training.changing import changing
from tracker.training.statefile import Decoded, Unusable
from tracker.vision.models import Classifier


def check_weights(found: Mapping[str, Tensor], classifier: Classifier) -> None:
    """See that tensors are the changing ones of `classifier`.

    Raises:
        Unusable: by name, shape or type they are not.
    """
    wanted = changing(classifier)
    if different := sorted(set(found) ^ set(wanted)):
        raise Unusable(f"holds the weights of another network: {len(different)} names differ, first {different[0]}")
    for name, tensor in wanted.items():
        if (found[name].shape, found[name].dtype) != (tensor.shape, tensor.dtype):
            raise Unusable(f"holds the weights of another network: {name} is {_form(found[name])}, not {_form(tensor)}")


def check_optimizer(decoded: Decoded, optimizer: Optimizer) -> None:
    """See that what was kept of an optimizer fits `optimizer`.

    Raises:
        Unusable: it is of another kind, or for other parameters.
    """
    if decoded.kind != type(optimizer).__name__:
        raise Unusable(f"was made with the optimizer {decoded.kind}, not {type(optimizer).__name__}")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if decoded.optimizer and sorted(decoded.optimizer) != list(range(len(parameters))):
        raise Unusable(f"was made with an optimizer of {len(decoded.optimizer)} parameters, not {len(parameters)}")
    for index, entries in decoded.optimizer.items():
        for name, value in entries.items():
            # A number a parameter (Adam's count of steps), or something of the parameter's own shape.
            if isinstance(value, Tensor) and value.ndim and value.shape != parameters[index].shape:
                raise Unusable(f"keeps {name} of parameter {index} as {_form(value)}")


def restore(decoded: Decoded, classifier: Classifier, optimizer: Optimizer) -> None:
    """Put back what was checked to fit, in place and on the device where both are; all of it or nothing."""
    device = next(classifier.parameters()).device
    weights = {name: tensor.to(device) for name, tensor in decoded.weights.items()}
    weights_before = {name: tensor.clone() for name, tensor in changing(classifier).items()}
    optimizer_before = optimizer.state_dict()
    try:
        optimizer.load_state_dict({"state": decoded.optimizer, "param_groups": optimizer_before["param_groups"]})
        _lay_out(optimizer)
        classifier.load_state_dict(weights, strict=False)
    except BaseException:
        optimizer.load_state_dict(optimizer_before)
        for name, tensor in changing(classifier).items():
            tensor.copy_(weights_before[name])
        raise


def _lay_out(optimizer: Optimizer) -> None:
    """Let what is kept of each parameter lie in memory as the parameter does.

    A file knows no memory format, and torch's fused optimizers take the formats to be equal without a look: with
    others they compute something else, silently.
    """
    for parameter, entries in optimizer.state.items():
        for name, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                entries[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
