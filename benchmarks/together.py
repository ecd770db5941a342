"""Trials on one device at once, by every way there is: `python -m benchmarks.together --help`.

As processes, which on CUDA run at once only with NVIDIA's Multi-Process Service; as threads of one process, on CUDA
each with a stream of its own; and as branches of one step that share each batch, on CUDA in one graph with a stream for
each. Each way trains the same networks on images of a dataset's shape, whole epochs with their evaluation, and gives
images a second in total. The ways take turns, round by round. Prints a Markdown table of medians.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

import torch

from benchmarks.branches import Branches
from tracker.bench.companion import REHEARSALS
from tracker.bench.company import side_by_side
from tracker.bench.subject import EVALUATED, SEED, SHAPES, bare, make_recipe, train, usable_execution
from tracker.study.errors import TrackerError
from tracker.study.recipe import NORMALIZATIONS, Recipe
from tracker.training import mps
from tracker.training.device import describe_device, resolve_device, threads_of
from tracker.training.execution import Execution, parse_execution
from tracker.vision.stand_ins import Shape, random_images


@dataclass(frozen=True)
class Trials:
    """What is trained: so many trials of a recipe, each for so many epochs that count."""

    recipe: Recipe
    shape: Shape
    device: str
    execution: Execution
    count: int
    epochs: int

    @property
    def images(self) -> int:
        """Training images of all epochs that count, of all trials."""
        return self.count * self.epochs * self.shape.train


def in_threads(pipe: Connection, trials: Trials) -> None:
    """Train in threads of this process, and send images a second in total."""
    device = torch.device(trials.device)
    images = random_images(trials.shape, SEED)
    barrier = threading.Barrier(trials.count + 1)
    building = threading.Lock()  # weights are drawn by torch's one generator

    def work() -> None:
        torch.set_num_threads(threads_of(trials.count))
        own = torch.cuda.stream(torch.cuda.Stream(device)) if device.type == "cuda" else nullcontext()  # type: ignore[no-untyped-call]
        with own:
            with building:
                epochs = train(trials.recipe, images, device, trials.execution, notice)
                for _ in range(REHEARSALS[device.type]):
                    next(epochs)
            barrier.wait()
            for _ in range(trials.epochs):
                next(epochs)
            barrier.wait()

    for _ in range(trials.count):
        threading.Thread(target=work, daemon=True).start()
    barrier.wait()
    begun = time.perf_counter()
    barrier.wait()
    pipe.send(trials.images / (time.perf_counter() - begun))


def in_branches(pipe: Connection, trials: Trials) -> None:
    """Train as branches, each with a normalization of its own, and send images a second in total."""
    torch.set_num_threads(threads_of(1))
    device = torch.device(trials.device)
    names = list(NORMALIZATIONS)
    recipes = [
        trials.recipe.model_copy(update={"normalization": names[number % len(names)]}) for number in range(trials.count)
    ]
    epochs = Branches(recipes, random_images(trials.shape, SEED), device, trials.execution, say=notice).epochs()
    for _ in range(REHEARSALS[device.type]):
        next(epochs)
    begun = time.perf_counter()
    for _ in range(trials.epochs):
        next(epochs)
    pipe.send(trials.images / (time.perf_counter() - begun))


def notice(text: str) -> None:
    """Tell why steps are not recorded."""
    print(text, file=sys.stderr)


def apart(way: Callable[[Connection, Trials], None], trials: Trials) -> float:
    """Return what a way gives in a process of its own."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("forkserver").Process(target=way, args=(there, trials), daemon=True)
    process.start()
    there.close()
    try:
        rate: float = here.recv()
    finally:
        process.kill()
        process.join()
    return rate


def in_processes(trials: Trials, batches: int, seconds: float) -> float:
    """Return what a process for each trial gives.

    Raises:
        SystemExit: they do not fit.
    """
    device = torch.device(trials.device)
    company = side_by_side(
        *(trials.recipe, trials.shape, device, trials.execution), trials=trials.count, batches=batches, seconds=seconds
    )
    if not company.fits:
        raise SystemExit(f"{trials.count} at once do not fit: {company.reason}")
    return company.rate


def measured(trials: Trials, batches: int, seconds: float) -> Iterator[tuple[str, float]]:
    """Yield one round: each way, and its images a second in total."""
    yield "one trial", in_processes(replace(trials, count=1), batches, seconds)
    yield "processes", in_processes(trials, batches, seconds)
    yield "threads", apart(in_threads, trials)
    yield "branches", apart(in_branches, trials)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--dataset", default="cifar10", choices=list(SHAPES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--accelerate", default="auto", help="as `tracker sweep --accelerate` (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=2, help="at once (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=4, help="of an epoch (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="measured each time (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5, help="that processes are measured (default: %(default)s)")
    parser.add_argument("--times", type=int, default=3, help="rounds (default: %(default)s)")
    options = parser.parse_args()
    try:
        device = resolve_device(options.device)
    except TrackerError as error:
        parser.error(str(error))
    recipe = bare(make_recipe(options.model, options.dataset, 256))
    images = options.batches * recipe.batch_size
    shape = replace(SHAPES[options.dataset], train=images, test=images // EVALUATED)
    execution = usable_execution(recipe, shape, device, parse_execution(options.accelerate, device), notice)
    trials = Trials(recipe, shape, str(device), execution, options.trials, options.epochs)
    found: dict[str, list[float]] = {}
    for number in range(options.times):
        for name, rate in measured(trials, options.batches, options.seconds):
            print(f"round {number + 1}, {name}: {rate:,.0f} images/s", file=sys.stderr)
            found.setdefault(name, []).append(rate)
    one = statistics.median(found["one trial"])
    service = f", MPS {'yes' if mps.serves() else 'no'}" if device.type == "cuda" else ""
    print(f"{options.model} on {options.dataset}, {options.trials} at once, {options.times} rounds; {execution};")
    print(f"{describe_device(device)}{service}, torch {torch.__version__}\n")
    print("| way | images/s in total: median (least to most) | to one trial |\n|---|--:|--:|")
    for name, rates in found.items():
        median = statistics.median(rates)
        print(f"| {name} | {median:,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) | {median / one:.2f} |")


if __name__ == "__main__":
    main()
