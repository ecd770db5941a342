"""What epochs cost that are shorter than a write of their state: `python -m benchmarks.short_epochs --help`.

A cell is trained as a worker trains it, its state durable, with an MLflow run that takes no time. In turn, training
waits for each write before the next may begin, or an epoch that ends during a write shares the next one. Prints a
Markdown table of medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.study import Cell
from tracker.sweep.workers import durable
from tracker.sweep.workers.cell import Attempt, train_cell
from tracker.sweep.workers.disk import DiskGuard
from tracker.sweep.workers.durable import Keeping
from tracker.sweep.workers.workbench import Workbench
from tracker.training.device import describe_device, resolve_device

WAYS = {"waits for each write": 0.0, "epochs share a write": durable.AHEAD_SECONDS}


class Silent:
    """A run that nothing is logged to."""

    def log_epoch(self, epoch: int, metrics: Mapping[str, float], time: int | None = None) -> None:
        """Do nothing."""

    def log_history(self, history: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Do nothing."""

    def log_file(self, path: Path, folder: str = "") -> None:
        """Do nothing."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Do nothing."""

    def log_dataset(
        self, name: str, fingerprint: str, context: str = "train", profile: Mapping[str, Any] | None = None
    ) -> None:
        """Do nothing."""


class CountingGuard(DiskGuard):
    """Counts the writes of states."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 0, stop=lambda: False, tell=lambda reason: None)
        self.writes = 0

    def write(self, size: int, save: Any) -> Any:
        """Write, and count."""
        self.writes += 1
        return super().write(size, save)


def train(cell: Cell, bench: Workbench, folder: Path, accelerate: str) -> tuple[float, int]:
    """Train a cell; return the seconds it took, and how many states were written."""
    guard = CountingGuard(folder)
    keeping = Keeping(folder, lambda: None, guard, None, 600, say=lambda text: None)
    attempt = Attempt(
        number=1, last_epoch=None, micro_batches=1, accelerate=accelerate, keep="none", keeping=keeping,
        stop=lambda: False, durable=lambda epoch: None, on_resume=lambda done, origin: None,
        on_epoch=lambda result: None,
    )  # fmt: skip
    begun = time.perf_counter()
    train_cell(cell, bench, Silent(), attempt)
    return time.perf_counter() - begun, guard.writes


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--images", type=int, default=16, help="digits trained on, at 32 x 32 (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=24, help="(default: %(default)s)")
    parser.add_argument("--device", default="auto", help="as of tracker sweep (default: %(default)s)")
    parser.add_argument("--accelerate", default="auto", help="as of tracker sweep (default: %(default)s)")
    parser.add_argument("--times", type=int, default=3, help="rounds; one more does not count (default: %(default)s)")
    options = parser.parse_args()
    device = resolve_device(options.device)
    recipe = {
        "model": options.model, "dataset": "large-digits", "normalization": "minmax", "source": "random", "flip": False,
        "epochs": options.epochs, "batch_size": 32, "limit_train": options.images, "limit_test": 50,
    }  # fmt: skip
    study = {
        "name": "short", "question": "?", "baseline": "minmax", "recipe": recipe,
        "datasets": {"large-digits": {"kind": "digits", "image_size": 32, "channels": 3}}, "axes": {"seed": [1]},
    }  # fmt: skip
    (cell,) = parse_study(study, file="short epochs").cells
    found: dict[str, list[tuple[float, int]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as place:
        home = Home(Path(place))
        bench = Workbench(home, device, None)
        for number in range(options.times + 1):
            for way, ahead in WAYS.items():
                durable.AHEAD_SECONDS = ahead
                folder = home.make(home.work / f"{number}-{ahead}")
                found[way].append(train(cell, bench, folder, options.accelerate))
    print(f"{options.model}, {options.epochs} epochs of {options.images} images; {describe_device(device)}, ", end="")
    print(f"torch {torch.__version__}; medians of {options.times} (least to most)\n")
    print("| training | seconds | states written |\n|---|--:|--:|")
    for way, rounds in found.items():
        seconds = [taken for taken, _ in rounds[1:]]
        writes = statistics.median(count for _, count in rounds[1:])
        print(f"| {way} | {statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f}) | {writes:g} |")


if __name__ == "__main__":
    main()
