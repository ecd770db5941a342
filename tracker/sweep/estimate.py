"""What a sweep will cost in time and disk, before it starts.

Time comes from cells that were run before on this ledger where there are any, else from timing a
step of each model on this device: an order of magnitude, and said so.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from tracker.study.home import Home
from tracker.study.study import Cell
from tracker.sweep.sizes import sweep_bytes
from tracker.sweep.workers.cell import Keep
from tracker.training.execution import prepare, usual_execution
from tracker.training.splits import split_sizes
from tracker.training.trial import build_optimizer
from tracker.vision.datasets import DatasetState, describe
from tracker.vision.models import Classifier, build_network
from tracker.vision.normalizations import MinMax

PROBE_BATCH = {"cpu": 32, "cuda": 256}
FORWARD_SHARE = 1 / 3
"""A forward pass costs about a third of a training step."""


@dataclass(frozen=True)
class Estimate:
    """What is left to do.

    Args:
        seconds: wall time; None when it cannot be told (a dataset's size is not known yet).
        disk_bytes: the most that will be on the disk at once, beside what is there already.
        basis: a sentence that says how the time was found.
    """

    seconds: float | None
    disk_bytes: int
    basis: str


def estimate_cost(
    cells: Sequence[Cell],
    seconds_by_cell: Mapping[str, float],
    done: Iterable[Cell],
    home: Home,
    device: torch.device,
    workers: int,
    keep: Keep = "best",
    say: Callable[[str], None] = lambda _: None,
) -> Estimate:
    """Estimate what `cells` will cost.

    Args:
        seconds_by_cell: what finished cells took, by id.
        done: those cells.
        workers: how many run at once; on a CPU they share the cores, so time is divided on CUDA only.

    Raises:
        DeviceError: the device cannot compute in a cell's precision.
    """
    known: dict[object, list[float]] = {}
    for cell in done:
        if cell.id in seconds_by_cell:
            known.setdefault(_kind(cell), []).append(seconds_by_cell[cell.id])
    measured, probed = 0, 0
    total: float | None = 0.0
    probes: dict[object, float] = {}
    states: dict[str, DatasetState] = {}
    for cell in cells:
        recipe = cell.recipe
        if recipe.dataset not in states:
            states[recipe.dataset] = describe(recipe.dataset, cell.dataset, home)
        state = states[recipe.dataset]
        kind = _kind(cell)
        seconds: float | None = None
        if kind in known:
            measured += 1
            seconds = statistics.fmean(known[kind])
        elif state.shape is not None and state.train and state.test and state.classes:
            probed += 1
            key = (recipe.model, recipe.tune, recipe.batch_size, recipe.precision, state.shape)
            if key not in probes:
                precision = "" if recipe.precision == "fp32" else f" in {recipe.precision}"
                say(f"timing a step of {recipe.model} at {state.shape[1]} x {state.shape[2]}{precision}")
                probes[key] = _seconds_per_image(cell, state.shape, state.classes, device)
            train, val, test = split_sizes(recipe, state.train, state.test)
            seconds = probes[key] * (train + (val + test) * FORWARD_SHARE) * recipe.epochs
        total = None if total is None or seconds is None else total + seconds
    if total is not None and device.type == "cuda":
        total /= max(1, workers)
    parts = [f"{measured} from cells already run"] if measured else []
    parts += [f"{probed} from timing single steps on this device"] if probed else []
    disk = sweep_bytes(cells, workers, keep)
    return Estimate(total, disk, ", ".join(parts) or "sizes of the datasets are not known yet")


def _kind(cell: Cell) -> object:
    """Cells that cost the same: equal but for seed and normalization."""
    return cell.recipe.model_copy(update={"seed": 0, "normalization": "minmax"})


def _seconds_per_image(cell: Cell, shape: tuple[int, int, int], classes: int, device: torch.device) -> float:
    """Time three training steps after a warm-up; return the median, divided by the batch."""
    recipe, channels = cell.recipe, shape[0]
    network, head = build_network(recipe.model, channels=channels, classes=classes, seed=0)
    classifier = Classifier(MinMax(), network, head, channels)
    prepare(classifier, device, usual_execution(device), recipe.precision)
    classifier.set_trainable(recipe.tune)
    classifier.train_mode(recipe.tune)
    count = min(PROBE_BATCH[device.type], recipe.batch_size)
    images = torch.zeros(count, *shape, dtype=torch.uint8, device=device)
    labels = torch.zeros(count, dtype=torch.int64, device=device)
    optimizer = build_optimizer(recipe, classifier, usual_execution(device))
    times = []
    for _ in range(4):
        started = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(classifier(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:]) / count
