"""Table 1 of the reference study: what the channel statistics become under each normalization."""

from __future__ import annotations

from dataclasses import dataclass

from tracker.vision.images import Statistics
from tracker.vision.statistics import published_statistics, shifted

AS_PRINTED: dict[str, Statistics] = {
    "cifar10": Statistics((0.03, 0.12, 0.18), (1.08, 1.09, 1.16)),
    "cifar100": Statistics((0.10, 0.14, 0.16), (1.17, 1.15, 1.23)),
    "svhn": Statistics((-0.21, -0.06, 0.30), (0.87, 0.90, 0.88)),
    "tiny-imagenet-200": Statistics((-0.38, -0.04, 0.33), (1.23, 1.20, 1.23)),
}
"""The column "ImageNet-1k stats." of Table 1 in the reference study's README. Three numbers are 0.01 off what the
published statistics give; the last row is of images whose channels are B, G, R."""

STANDARD = Statistics((0.0,) * 3, (1.0,) * 3)


@dataclass(frozen=True)
class Shift:
    """The channel statistics of one dataset under one normalization, R, G, B.

    Args:
        per_image: whether every image has these statistics, not just the dataset as a whole.
    """

    dataset: str
    normalization: str
    statistics: Statistics
    per_image: bool = False


def table_1() -> tuple[Shift, ...]:
    """Compute Table 1 from the published statistics, for all four normalizations."""
    source = published_statistics("imagenet")
    rows = []
    for dataset in AS_PRINTED:
        own = published_statistics(dataset)
        rows += [
            Shift(dataset, "finetune", shifted(own, own)),
            Shift(dataset, "pretrain", shifted(own, source)),
            Shift(dataset, "instance", STANDARD, per_image=True),
            Shift(dataset, "minmax", own),
        ]
    return tuple(rows)


def in_bgr(dataset: str) -> Statistics:
    """Return a dataset's statistics under ImageNet's z-score when its channels come as B, G, R."""
    own = published_statistics(dataset)
    return shifted(Statistics(own.mean[::-1], own.std[::-1]), published_statistics("imagenet"))


def distance(statistics: Statistics) -> float:
    """Return how far a distribution with these moments is from mean 0 and standard deviation 1.

    It is the 2-Wasserstein distance of normal distributions, sqrt(mean^2 + (std - 1)^2), as the root
    mean square over channels.
    """
    squares = [mean**2 + (std - 1) ** 2 for mean, std in zip(statistics.mean, statistics.std, strict=True)]
    return float((sum(squares) / len(squares)) ** 0.5)
