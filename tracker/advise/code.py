"""A normalization as lines of torchvision code, complete with its numbers."""

from __future__ import annotations

from dataclasses import dataclass

from tracker.study.errors import UsageError
from tracker.vision.images import Statistics
from tracker.vision.normalizations import CONSTANT_STD
from tracker.vision.statistics import repeated

IMPORTS = ("import torch", "from torchvision.transforms import v2")


@dataclass(frozen=True)
class Code:
    """Code that makes `normalize`, which takes a PIL image, or uint8 images (..., C, H, W), to float32.

    Args:
        imports: what the lines need.
        lines: two at most.
    """

    imports: tuple[str, ...]
    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([*self.imports, "", *self.lines])


def normalization_code(
    setting: str, *, images: int, channels: int, target: Statistics, source: Statistics | None
) -> Code:
    """Write the code of one of the compared normalizations.

    torchvision multiplies bytes by 1 / 255 where the sweep divides them by 255, so values agree to
    rounding: 1e-6.

    Args:
        images: C of the images as stored, 1 or 3.
        channels: C of the network; one channel is repeated for a network of three.
        target: the images' statistics, of their C channels.
        source: the source's; None for random weights.

    Raises:
        UsageError: no such normalization here, or `pretrain` without a source's statistics.
    """
    steps = ["v2.ToImage()"]
    if (images, channels) == (1, 3):
        steps.append("v2.RGB()")
    elif images == 1:
        steps.append("v2.Grayscale()")
    steps.append("v2.ToDtype(torch.float32, scale=True)")
    before: tuple[str, ...] = ()
    if setting == "instance":
        before = (
            "def standardize(x): return torch.where((s := x.std((-2, -1), keepdim=True)) > "
            f"{CONSTANT_STD!r}, (x - x.mean((-2, -1), keepdim=True)) / s, 0.0)",
        )
        steps.append("v2.Lambda(standardize)")
    elif setting == "finetune":
        steps.append(_z_score(repeated(target, channels)))
    elif setting == "pretrain" and source is not None:
        steps.append(_z_score(repeated(source, channels)))
    elif setting != "minmax":
        raise UsageError(f"there is no code for normalization {setting!r} here")
    return Code(IMPORTS, (*before, f"normalize = v2.Compose([{', '.join(steps)}])"))


def _z_score(statistics: Statistics) -> str:
    return f"v2.Normalize(mean={list(statistics.mean)!r}, std={list(statistics.std)!r})"
