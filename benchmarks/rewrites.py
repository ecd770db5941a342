"""What each exact rewrite of a network saves: `python -m benchmarks.rewrites --help`.

A training step and an evaluation of one batch, of each model with no rewrite, with each alone and with all; in
contiguous and in channels_last format, with Adam as torch chooses it and fused. All ways of a model take turns, in
rounds. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tracker.training.device import describe_device, resolve_device
from tracker.vision.models import build_network
from tracker.vision.rewrites.rewriting import REWRITES, Rewrite, rewrite, undo

MODELS = ("resnet18", "resnet50", "densenet121", "densenet161")
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
ADAMS = {"Adam": None, "fused Adam": True}
CLASSES = 10
SEED = 7

HEAD = (
    "| model | size | format | optimizer | rewrites | step, ms | range | ratio | to plain | evaluation, ms | range "
    "| ratio |\n|---|--:|---|---|---|--:|--:|--:|--:|--:|--:|--:|"
)


@dataclass
class Way:
    """A network in one format with one optimizer, and the rewrites that are on while its time is taken.

    Attributes:
        steps, evaluations: seconds, one a round.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    images: Tensor
    labels: Tensor
    memory_format: str
    adam: str
    names: tuple[Rewrite, ...]
    steps: list[float] = field(default_factory=list)
    evaluations: list[float] = field(default_factory=list)

    def take_turn(self) -> None:
        """Take the time of one step and of one evaluation."""
        undo(self.network)
        rewrite(self.network, self.names)
        self.network.train()
        self.steps.append(seconds(self.step, self.images.device))
        self.network.eval()
        self.evaluations.append(seconds(self.evaluate, self.images.device))

    def step(self) -> None:
        """Train on the batch."""
        self.optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(self.network(self.images), self.labels).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    @torch.inference_mode()
    def evaluate(self) -> None:
        """Judge the batch."""
        self.network(self.images)


def seconds(work: Callable[[], None], device: torch.device) -> float:
    """Return how long a piece of work takes, its device waited for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begun = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def ways_of(model: str, size: int, batch: int, device: torch.device) -> list[Way]:
    """Return all ways of a model; those of one format and optimizer share a network."""
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randn(batch, 3, size, size, generator=generator).to(device)
    labels = torch.randint(CLASSES, (batch,), generator=generator).to(device)
    ways = []
    for memory_format, layout in FORMATS.items():
        for adam, fused in ADAMS.items():
            network, _ = build_network(model, channels=3, classes=CLASSES, seed=SEED)
            network = network.to(device).to(memory_format=layout)
            optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=fused)
            applying = rewrite(network)
            choices: list[tuple[Rewrite, ...]] = [(), *((name,) for name in applying), tuple(applying)]
            own = images.to(memory_format=layout)
            ways += [Way(network, optimizer, own, labels, memory_format, adam, names) for names in choices]
    return ways


def measure(model: str, size: int, batch: int, times: int, device: torch.device) -> list[str]:
    """Let all ways of a model take turns, the first round not counted; return lines of the table."""
    ways = ways_of(model, size, batch, device)
    for _ in range(times + 1):
        for way in ways:
            way.take_turn()
    lines = []
    for way in ways:
        without = next(
            each for each in ways if (each.names, each.memory_format, each.adam) == ((), way.memory_format, way.adam)
        )
        names = "none" if not way.names else "all" if len(way.names) > 1 else way.names[0]
        lines.append(
            f"| {model} | {size} | {way.memory_format} | {way.adam} | {names} | {shown(way.steps)} | "
            f"{ratio(without.steps, way.steps)} | {ratio(ways[0].steps, way.steps)} | {shown(way.evaluations)} | "
            f"{ratio(without.evaluations, way.evaluations)} |"
        )
    return lines


def shown(taken: Sequence[float]) -> str:
    """Return two cells of a table: the median, then the least and the most, the first round left out."""
    counted = [1000 * each for each in taken[1:]]
    return f"{statistics.median(counted):.1f} | {min(counted):.1f} - {max(counted):.1f}"


def ratio(before: Sequence[float], after: Sequence[float]) -> str:
    """Return how many times faster, the median over rounds, the first left out."""
    pairs = zip(before[1:], after[1:], strict=True)
    return f"{statistics.median(slow / fast for slow, fast in pairs):.2f}"


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS), help="(default: %(default)s)")
    parser.add_argument("--sizes", default="32,64", help="of the images, in pixels (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=256, help="images of a step (default: %(default)s)")
    parser.add_argument("--times", type=int, default=5, help="rounds, after one not counted (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="of torch (default: as torch chooses)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1 (default: %(default)s)")
    options = parser.parse_args(given)
    if options.batch < 2 or options.times < 1:
        parser.error("--batch: at least 2, as BatchNorm wants; --times: at least 1")
    return options


def main(given: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    options = arguments(given)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = resolve_device(options.device)
    print(
        f"Python {platform.python_version()}, torch {version('torch')}, {describe_device(device)}, "
        f"{os.cpu_count()} cores; batches of {options.batch}, {options.times} rounds, {len(REWRITES)} rewrites\n"
    )
    print(HEAD, flush=True)
    for model in options.models.split(","):
        for size in map(int, options.sizes.split(",")):
            print(*measure(model, size, options.batch, options.times, device), sep="\n", flush=True)
            print(f"{model} at {size} measured", file=sys.stderr)


if __name__ == "__main__":
    main()
