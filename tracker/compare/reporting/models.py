"""The networks of a study: how large they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tracker.study.errors import TrackerError


@dataclass(frozen=True)
class ModelFacts:
    """A network, counted; on three input channels.

    Args:
        parameters: with the head of ImageNet's 1,000 classes, the number that is published.
        backbone: without the head: what a study starts from.
        features: what the head gets, for each of its classes.
    """

    model: str
    parameters: int
    backbone: int
    features: int


IMAGENET_CLASSES = 1_000


def model_facts(models: Iterable[str]) -> list[ModelFacts]:
    """Count the parameters of networks, built without memory for them; those that cannot be built here are left out."""
    import torch  # four seconds that a report without it does not take

    from tracker.vision.models import build_network

    found = []
    for model in models:
        try:
            with torch.device("meta"):
                network, head = build_network(model, channels=3, classes=IMAGENET_CLASSES, seed=0)
        except TrackerError:
            continue
        total = sum(parameter.numel() for parameter in network.parameters())
        weight, *rest = network.get_submodule(head).parameters()
        last = weight.numel() + sum(parameter.numel() for parameter in rest)
        found.append(ModelFacts(model, total, total - last, weight.numel() // IMAGENET_CLASSES))
    return found
