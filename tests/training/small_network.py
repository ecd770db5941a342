"""A network of two convolutions."""

from __future__ import annotations

import torch
from torch import nn

from tracker.vision.models import Classifier
from tracker.vision.normalizations import MinMax


def small_network() -> Classifier:
    """A network in which a rounding stays as small as it is; the same one each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layers = [nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, bias=False)]
        ends = [nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)]
        return Classifier(MinMax(), nn.Sequential(*layers, *ends), "8", channels=1)
