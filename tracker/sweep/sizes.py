"""The disk that cells take: what a finished one leaves, and what a running one needs beside."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch

from tracker.study.recipe import Recipe
from tracker.study.study import Cell
from tracker.sweep.workers.cell import KEPT, Keep
from tracker.vision.models import build_network

FILES_BYTES = 300_000
"""Figures and predictions of a cell."""

MOMENTS = {"adam": 2, "adamw": 2, "sgd": 1}
"""Tensors that an optimizer keeps for each parameter that learns."""

GENERATIONS = 3
"""Training states on the disk at once: the one being written, and the two before."""


def sweep_bytes(cells: Sequence[Cell], workers: int, keep: Keep) -> int:
    """Return the most that a sweep will have on the disk at once, beside what is there already."""
    left = sum(finished_bytes(cell.recipe, keep) for cell in cells)
    running = max((running_bytes(cell.recipe, keep) for cell in cells), default=0)
    return left + running * min(max(1, workers), len(cells))


def finished_bytes(recipe: Recipe, keep: Keep) -> int:
    """Return what a finished cell leaves: checkpoints, predictions, figures."""
    return len(KEPT[keep]) * checkpoint_bytes(recipe.model) + FILES_BYTES


def running_bytes(recipe: Recipe, keep: Keep) -> int:
    """Return what a cell needs while it runs: its training states, and its checkpoints on their way to MLflow."""
    model = checkpoint_bytes(recipe.model) if recipe.tune == "full" else 0  # what is frozen is not stored
    return GENERATIONS * model * (2 + MOMENTS[recipe.optimizer]) + finished_bytes(recipe, keep)


@cache
def checkpoint_bytes(model: str) -> int:
    """Return the size of a model's tensors with a head of 1,000 classes, counted without making them."""
    with torch.device("meta"):
        network, _ = build_network(model, channels=3, classes=1000, seed=0)
    return sum(tensor.numel() * tensor.element_size() for tensor in [*network.parameters(), *network.buffers()])
