"""Trials on one device at once, as processes or as threads of one process: `python -m benchmarks.together --help`.

Each way trains the same networks on images of a dataset's shape, whole epochs with their evaluation, and gives
images a second in total. The ways take turns, round by round. Prints a Markdown table of medians.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import threading
import time
from dataclasses import replace
from multiprocessing.connection import Connection

import torch

from tracker.bench.company import side_by_side
from tracker.bench.subject import EVALUATED, SEED, SHAPES, Shape, bare, make_recipe, random_images, train
from tracker.study.recipe import Recipe
from tracker.training.device import threads_of
from tracker.training.execution import Execution, parse_execution


def in_threads(pipe: Connection, recipe: Recipe, shape: Shape, execution: Execution, trials: int, rounds: int) -> None:
    """Train so many trials in threads of this process, and send images a second in total."""
    device = torch.device("cpu")
    torch.set_num_threads(threads_of(trials))
    images = random_images(shape, SEED)
    epochs = [train(recipe, images, device, execution, lambda _: None) for _ in range(trials)]
    for own in epochs:
        next(own)
    barrier = threading.Barrier(trials + 1)

    def work(place: int) -> None:
        torch.set_num_threads(threads_of(trials))
        barrier.wait()
        for _ in range(rounds):
            next(epochs[place])
        barrier.wait()

    for place in range(trials):
        threading.Thread(target=work, args=(place,), daemon=True).start()
    barrier.wait()
    begun = time.perf_counter()
    barrier.wait()
    pipe.send(trials * rounds * shape.train / (time.perf_counter() - begun))


def threads_rate(recipe: Recipe, shape: Shape, execution: Execution, trials: int, rounds: int) -> float:
    """Return what threads give together, in a process of their own."""
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=in_threads, args=(there, recipe, shape, execution, trials, rounds), daemon=True)
    process.start()
    there.close()
    rate: float = here.recv()
    process.kill()
    process.join()
    return rate


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--dataset", default="cifar10", choices=list(SHAPES))
    parser.add_argument("--trials", type=int, default=2, help="at once (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=4, help="of an epoch (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="measured each time (default: %(default)s)")
    parser.add_argument("--times", type=int, default=3, help="rounds (default: %(default)s)")
    options = parser.parse_args()
    device = torch.device("cpu")
    execution = parse_execution("auto", device)
    recipe = bare(make_recipe(options.model, options.dataset, 256))
    images = options.batches * recipe.batch_size
    shape = replace(SHAPES[options.dataset], train=images, test=images // EVALUATED)
    found: dict[str, list[float]] = {"one trial": [], "processes": [], "threads": []}
    for number in range(options.times):
        print(f"round {number + 1}", file=sys.stderr)
        for name, trials in (("one trial", 1), ("processes", options.trials)):
            company = side_by_side(recipe, shape, device, execution, trials=trials, batches=options.batches, seconds=5)
            found[name].append(company.rate)
        found["threads"].append(threads_rate(recipe, shape, execution, options.trials, options.epochs))
    one = statistics.median(found["one trial"])
    print(f"{options.model} on {options.dataset}, {options.trials} at once, {options.times} rounds\n")
    print("| way | images/s in total: median (least to most) | to one trial |\n|---|--:|--:|")
    for name, rates in found.items():
        median = statistics.median(rates)
        print(f"| {name} | {median:,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) | {median / one:.2f} |")


if __name__ == "__main__":
    main()
