"""How fast images reach a network, in each way there is: `python -m benchmarks.input_pipeline --help`.

The reference protocol's loader (PIL image by image: RandomCrop, RandomHorizontalFlip, ToTensor, Normalize, in
worker processes) against the ways of tracker.vision.kernels and what was tried and dropped, over epochs of random
bytes, in turn, so that a busy moment meets all of them. Before it is timed each way's batch is compared, bit by
bit, with the plain one's. Prints a Markdown table; progress goes to stderr.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tracker.bench.reference import loader_of
from tracker.bench.subject import make_recipe
from tracker.study.errors import TrackerError
from tracker.vision.augmentation import EpochPlan, draw_plan
from tracker.vision.images import Split
from tracker.vision.kernels.pipeline import Setting, Way, build_input_pipeline
from tracker.vision.normalizations import MinMax, PerImage, ZScore
from tracker.vision.statistics import PUBLISHED

SEED = 20_261_122
PADDING = 4
CHANNELS = 3
STATISTICS = PUBLISHED["cifar10"]
REFERENCE = "reference: PIL, loader"
Epoch = Callable[[int], Iterator[Tensor]]
"""From an epoch's number to its batches."""


def reference(images: Tensor, batch: int, workers: int) -> Epoch:
    """Return epochs of the reference protocol; its workers stay from one to the next."""
    recipe = make_recipe("resnet18", "cifar10", batch, 1).model_copy(update={"seed": SEED, "crop_padding": PADDING})
    split = Split(images.numpy(), np.zeros(len(images), dtype=np.int64))
    loader = loader_of(recipe, split, STATISTICS, workers, train=True)
    return lambda epoch: (taken for taken, _ in loader)


def epochs(images: Tensor, batch: int, feed: Callable[[Tensor, EpochPlan], Tensor]) -> Epoch:
    """Return epochs of one of our ways, the drawing of their plans included."""

    def run(epoch: int) -> Iterator[Tensor]:
        plan = draw_plan(len(images), seed=SEED, epoch=epoch, crop_padding=PADDING, flip=True)
        for first in range(0, len(images), batch):
            yield feed(images, plan.batch(first, batch))

    return run


def row_windows(normalization: nn.Module, images: Tensor, plan: EpochPlan) -> Tensor:
    """Do it in few torch operations: each row is a window into a padded batch whose flipped images are mirrored.

    Rows share their padding: the right one's is the left one of the next row.
    """
    count, (_, channels, height, width) = len(plan), images.shape
    tall, wide = height + 2 * PADDING, width + PADDING
    place = torch.argsort(plan.flip, stable=True)
    plain = count - int(plan.flip.sum())
    taken = images[plan.order[place]]
    flat = torch.zeros(count * channels * tall * wide + PADDING, dtype=torch.uint8)
    padded = flat[: count * channels * tall * wide].view(count, channels, tall, wide)
    padded[:plain, :, PADDING:-PADDING, PADDING:] = taken[:plain]
    padded[plain:, :, PADDING:-PADDING, PADDING:] = taken[plain:].flip(3)
    left = torch.where(plan.flip, 2 * PADDING - plan.left, plan.left)
    plane = torch.argsort(place)[:, None] * channels + torch.arange(channels)  # (B, C)
    row = plan.top[:, None] + torch.arange(height)  # (B, H)
    start = (plane[:, :, None] * tall + row[:, None]) * wide + left[:, None, None]  # (B, C, H)
    windows = flat.as_strided((len(flat) - width + 1, width), (1, 1))
    result: Tensor = normalization(windows[start])
    return result


def ways(images: Tensor, batch: int, workers: int, cache: Path, compiled: bool) -> dict[str, Epoch]:
    """Return every way by name, those of ours seen to give the plain way's bits."""
    z_score = ZScore(STATISTICS)
    last = torch.channels_last
    chosen: list[tuple[str, Way, nn.Module, torch.memory_format]] = [
        ("plain", "plain", z_score, torch.contiguous_format),
        ("plain, channels_last", "plain", z_score, last),
        ("native", "native", z_score, torch.contiguous_format),
        ("native, channels_last", "native", z_score, last),
        ("native, minmax", "native", MinMax(), torch.contiguous_format),
        ("plain, instance", "plain", PerImage(), torch.contiguous_format),
        ("native, instance", "native", PerImage(), torch.contiguous_format),
    ]
    if compiled:
        chosen.append(("torch.compile", "compiled", z_score, torch.contiguous_format))
    found = {REFERENCE: reference(images, batch, workers)}
    for name, way, normalization, memory_format in chosen:
        setting = Setting(normalization, CHANNELS, PADDING, memory_format)
        pipeline = build_input_pipeline(setting, images, cache=cache, way=way)
        if pipeline.name != way:
            raise TrackerError(f"{name} cannot be measured here: {pipeline.reason}")
        found[name] = epochs(images, batch, pipeline)
    found["torch, row windows"] = epochs(images, batch, lambda images, plan: row_windows(z_score, images, plan))
    expected = next(found["plain"](0))
    for name in ("native", "torch, row windows"):
        if not torch.equal(next(found[name](0)), expected):
            raise TrackerError(f"{name} gives another batch than the plain way")
    return found


def seconds(epoch: Iterator[Tensor]) -> float:
    """Go through an epoch; return how long it took."""
    started = time.perf_counter()
    for _ in epoch:
        pass
    return time.perf_counter() - started


def rows(size: int, options: argparse.Namespace, cache: Path) -> Iterator[str]:
    """Measure images of one size; yield the rows of the table."""
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randint(0, 256, (options.images, CHANNELS, size, size), dtype=torch.uint8, generator=generator)
    found = ways(images, options.batch, options.workers, cache, options.compile)
    taken: dict[str, list[float]] = {name: [] for name in found}
    for turn in range(options.times + 1):
        for name, epoch in found.items():
            spent = seconds(epoch(turn))
            if turn:  # the first one starts workers and fills caches
                taken[name].append(spent)
        print(f"{size}x{size}: {turn} of {options.times}", file=sys.stderr)
    for name, spents in taken.items():
        rates = [options.images / spent for spent in spents]
        ratio = statistics.median(base / spent for base, spent in zip(taken[REFERENCE], spents, strict=True))
        yield (
            f"| {size}x{size} | {name} | {statistics.median(rates):,.0f} | {min(rates):,.0f} | {max(rates):,.0f} "
            f"| {ratio:.1f} |"
        )


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64], help="H = W (default: 32 64)")
    parser.add_argument("--images", type=int, default=12_800, help="an epoch (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=256, help="images a batch (default: %(default)s)")
    parser.add_argument("--times", type=int, default=5, help="epochs of each way (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="of torch and the kernels (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the reference (default: %(default)s)")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile too, which takes a minute more")
    options = parser.parse_args(given)
    for name in ("images", "batch", "times", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name}: at least 1")
    return options


def main(given: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    options = arguments(given)
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        print(
            f"Python {platform.python_version()}, torch {version('torch')}, Pillow {version('pillow')}, "
            f"{options.threads} threads, {options.workers} workers, batch {options.batch}, "
            f"{options.images:,} images, {options.times} epochs of each\n"
        )
        print("| images | way | images/s, median | least | most | ratio to the reference |\n|---|---|--:|--:|--:|--:|")
        for size in options.sizes:
            for row in rows(size, options, Path(folder)):
                print(row, flush=True)


if __name__ == "__main__":
    try:
        main()
    except TrackerError as error:
        sys.exit(str(error))
