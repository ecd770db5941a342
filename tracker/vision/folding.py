"""Folding: a normalization's affine map taken into the first convolution.

minmax, finetune and pretrain give z = (x - mean) / std, channel by channel, of the same x in [0, 1]. A
convolution absorbs such a map: its weights are divided by std, and the sum of weight * mean / std is
taken off its bias. Only at its padded border does it see something else than pixels: there it puts z = 0,
which is x = mean. docs/theory.md says what follows.
"""

from __future__ import annotations

import copy
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from tracker.study.errors import TrackerError, UsageError
from tracker.vision.models import Classifier
from tracker.vision.normalizations import MinMax, PerImage, ZScore

Border = Literal["exact", "zero"]
"""exact: what the network saw beyond the edge of the image, it sees still; zero: the convolution's own zeros,
as a network has them that learned the folded weights."""

SIZES = frozenset({"shape", "dtype", "device", "ndim", "size", "dim"})
"""What a network may ask of its input without looking at a pixel."""


class BorderFill(nn.Module):
    """Surround images with a value for each channel, where a convolution would put zeros.

    Args:
        values: (C,).
        widths: left, right, top, bottom, in pixels.
    """

    values: Tensor

    def __init__(self, values: Tensor, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.register_buffer("values", values.view(-1, 1, 1))
        self.widths = widths

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, C, top + H + bottom, left + W + right) from (N, C, H, W), the pixels as they were."""
        outside = 1 - F.pad(torch.ones_like(images[:1, :1]), self.widths)  # (1, 1, ...)
        return F.pad(images, self.widths) + self.values * outside


def fold_normalization(classifier: Classifier, border: Border = "exact") -> Classifier:
    """Return a copy of a classifier that takes raw images as floats in [0, 1], its normalization folded.

    With `border="exact"` its logits are the original's, to rounding; minmax folds to the same weights.

    Args:
        classifier: normalized by minmax or a z-score; unchanged.
        border: what the first convolution sees beyond the edge of an image; see `Border`.

    Returns:
        From images of the network's dtype, (N, 1 or C, H, W), raw bytes / 255, to logits, (N, K).

    Raises:
        TrackerError: the normalization is no fixed map of each pixel, or the network does not begin
            with one convolution.
        UsageError: no such border.
    """
    folded = rebase_normalization(classifier, MinMax(), border)
    folded.normalization = nn.Identity()
    return folded


def rebase_normalization(classifier: Classifier, normalization: nn.Module, border: Border = "exact") -> Classifier:
    """Return a copy of a classifier behind another normalization, its first convolution changed to make up for it.

    So every network on pretrain's z-score has one on finetune's, and one on minmax, with the same logits.

    Args:
        classifier: normalized by minmax or a z-score; unchanged.
        normalization: minmax or a z-score, of as many channels.
        border: as for `fold_normalization`.

    Raises:
        TrackerError, UsageError: as `fold_normalization`.
    """
    if border not in get_args(Border):
        raise UsageError(f"{border!r} is not a border", f"accepted: {', '.join(get_args(Border))}")
    old_mean, old_std = _affine(classifier.normalization)
    new_mean, new_std = _affine(normalization)
    rebased = copy.deepcopy(classifier)
    network = rebased.network
    name = _stem_name(network)
    stem = network.get_submodule(name)
    assert isinstance(stem, nn.Conv2d)
    # z_old = (x - old_mean) / old_std and x = new_std * z_new + new_mean
    _absorb(stem, new_std / old_std, (new_mean - old_mean) / old_std)
    beyond = ((old_mean - new_mean) / new_std).expand(stem.in_channels)  # z_new where z_old = 0
    widths = _padding(stem)
    if border == "exact" and stem.padding_mode == "zeros" and any(widths) and bool(beyond.any()):
        stem.padding = (0, 0)
        network.set_submodule(name, nn.Sequential(BorderFill(beyond.to(stem.weight), widths), stem))
    rebased.normalization = copy.deepcopy(normalization)
    return rebased


def _affine(normalization: nn.Module) -> tuple[Tensor, Tensor]:
    """Return mean and std of a normalization that is (x - mean) / std; float64, on the CPU, (C,) or (1,)."""
    kind = type(normalization)  # a subclass may do anything
    if kind is MinMax:
        return torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    if kind is ZScore:
        assert isinstance(normalization, ZScore)
        mean, std = (buffer.cpu().double().flatten() for buffer in (normalization.mean, normalization.std))
        return mean, std
    reason = (
        "its mean and deviation are each image's own, so no fixed weights do what it does"
        if kind is PerImage
        else "what it does to a pixel is not known to be one fixed affine map"
    )
    raise TrackerError(
        f"normalization {kind.__name__} cannot be folded into a convolution: {reason}",
        "keep it as the first layer; minmax and the z-scores (finetune, pretrain) can be folded",
    )


def _absorb(convolution: nn.Conv2d, scale: Tensor, offset: Tensor) -> None:
    """Let a convolution take v where it took scale * v + offset; (C,) or (1,), float64.

    Its zeros beyond the edge stay zeros.
    """
    old = convolution.weight
    weight = old.detach().cpu().double()  # (O, C / groups, kH, kW)
    scale, offset = (_of_weights(values, convolution) for values in (scale, offset))
    bias = (weight.sum(dim=(2, 3)) * offset).sum(dim=1)  # (O,)
    convolution.weight = nn.Parameter((weight * scale[..., None, None]).to(old), requires_grad=old.requires_grad)
    if convolution.bias is not None:
        bias = bias + convolution.bias.detach().cpu().double()
    elif not bool(offset.any()):
        return
    convolution.bias = nn.Parameter(bias.to(old), requires_grad=old.requires_grad)


def _of_weights(values: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Return for each of a convolution's kernels the value of its input channel; (O, C / groups) from (C,) or (1,)."""
    groups = values.expand(convolution.in_channels).view(convolution.groups, -1)  # (G, C / G)
    return groups.repeat_interleave(convolution.out_channels // convolution.groups, dim=0)


def _padding(convolution: nn.Conv2d) -> tuple[int, int, int, int]:
    """Return how wide a convolution pads: left, right, top, bottom."""
    if convolution.padding == "valid":
        return 0, 0, 0, 0
    if convolution.padding == "same":
        rows, columns = (
            step * (size - 1) for step, size in zip(convolution.dilation, convolution.kernel_size, strict=True)
        )
        return columns // 2, columns - columns // 2, rows // 2, rows - rows // 2
    assert not isinstance(convolution.padding, str)
    height, width = convolution.padding
    return width, width, height, height


class _Outline(fx.Tracer):
    """Follows a network's input into the modules that hold one convolution, and into no others."""

    def __init__(self, stem: nn.Module) -> None:
        super().__init__()
        self._stem = stem

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Say whether a module is taken as a whole."""
        return m is self._stem or all(part is not self._stem for part in m.modules())


def _stem_name(network: nn.Module) -> str:
    """Return the name of the convolution that a network's input goes to, and goes to alone.

    Raises:
        TrackerError: there is none; says what is in the way.
    """
    kind = type(network).__name__
    cure = "keep the normalization as its first layer"
    if getattr(network, "transform_input", False):
        raise TrackerError(
            f"{kind} changes its input itself (transform_input), before its first convolution",
            f"build it with transform_input=False, or {cure}",
        )
    convolutions = ((name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d))
    name, stem = next(convolutions, ("", None))
    if stem is None or not name:
        raise TrackerError(f"{kind} has no convolution as a part to fold a normalization into", cure)
    if type(stem) is not nn.Conv2d:
        raise TrackerError(f"{kind} begins with {name}, a {type(stem).__name__}: not a plain Conv2d", cure)
    try:
        graph = _Outline(stem).trace(network)
    except Exception as error:  # whatever a foreign network's own code raises where it is given no real images
        raise TrackerError(f"{kind} cannot be followed from its input to {name}: {error}", cure) from error
    given = next(node for node in graph.nodes if node.op == "placeholder")
    takers = [node for node in given.users if not _asks_for_size(node)]
    if [node.target for node in takers] != [name]:
        names = ", ".join(sorted({str(getattr(node.target, "__name__", node.target)) for node in takers})) or "nothing"
        raise TrackerError(f"{kind} gives its input to {names}, not to {name} alone", cure)
    if sum(node.target == name for node in graph.nodes) > 1:
        raise TrackerError(f"{kind} uses its first convolution, {name}, more than once", cure)
    return name


def _asks_for_size(node: fx.Node) -> bool:
    """Say whether a step of a network asks for its input's size or kind, and for none of its pixels."""
    if node.op == "call_function" and node.target is getattr:
        return node.args[1] in SIZES
    return node.op == "call_method" and node.target in SIZES
