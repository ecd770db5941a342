"""What the end of an epoch costs: `python -m benchmarks.epoch_end --help`.

Evaluation, and the copy of weights, optimizer and best weights that is kept, hold training up; to write them to disk
does not, and is measured beside. Images are random bytes of a dataset's shape, few of them to train on. Prints a
Markdown table of medians in milliseconds; logging is done after the write, in the same thread.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from tracker.bench.subject import SHAPES, make_recipe
from tracker.training.device import describe_device, resolve_device
from tracker.training.execution import parse_execution, prepare
from tracker.training.splits import trial_data
from tracker.training.state import TrialState
from tracker.training.store import StateStore
from tracker.training.trial import build_classifier, build_optimizer, run_epochs
from tracker.vision.images import ImageSet
from tracker.vision.stand_ins import random_images, stand_in

SEED = 20_261_123
BATCHES = 4
REHEARSED = 5
"""Epochs that do not count: kernels are chosen, and steps recorded."""
PARTS = ("evaluation", "copy of the state", "together", "write, beside training")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="resnet18", help="torchvision's, with commas; resnet18")
    parser.add_argument("--dataset", choices=sorted(SHAPES), default="cifar10", help="whose shape; cifar10")
    parser.add_argument("--device", default="auto", help="as of tracker sweep; auto")
    parser.add_argument("--accelerate", default="auto", help="as of tracker sweep; auto")
    parser.add_argument("--epochs", type=int, default=20, help="that count; 20")
    parser.add_argument("--test", type=int, default=None, help="test images; the dataset's number")
    options = parser.parse_args(arguments)
    device = resolve_device(options.device)
    shape = SHAPES[options.dataset]
    few = type(shape)(256 * BATCHES, options.test or shape.test, shape.size, shape.classes)
    images = random_images(few, SEED, options.dataset)
    print(
        f"{describe_device(device)}, torch {torch.__version__}, {options.accelerate}; ms, medians of {options.epochs}"
    )
    print(f"\n| model | {' | '.join(PARTS)} |\n|---|{'--:|' * len(PARTS)}")
    for model in options.models.split(","):
        times = measure(model, options.dataset, images, device, options.accelerate, options.epochs)
        cells = [f"{1000 * statistics.median(each):,.1f}" for each in times]
        print(f"| {model} | {' | '.join(cells)} |", flush=True)


def measure(
    model: str, dataset: str, images: ImageSet, device: torch.device, accelerate: str, epochs: int
) -> list[list[float]]:
    """Return the seconds of each epoch's end, by `PARTS`; each epoch counts as the best so far."""
    execution = parse_execution(accelerate, device)
    recipe = make_recipe(model, dataset, 256).model_copy(update={"epochs": REHEARSED + epochs})
    classifier = prepare(build_classifier(recipe, images, stand_in(recipe, images)), device, execution)
    optimizer = build_optimizer(recipe, classifier, execution)
    data, state = trial_data(recipe, images, device), TrialState()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        store = StateStore(Path(folder), {"model": model})
        for result in run_epochs(
            *(recipe, classifier, data, device),
            optimizer=optimizer,
            position=state.position,
            execution=execution,
            say=lambda text: print(text, file=sys.stderr),
        ):
            trained = len(data.train) / result.metrics["images_per_second"]
            evaluated = result.metrics["epoch_seconds"] - trained
            state.position.selection = replace(result.selection, best_epoch=result.epoch)
            best = replace(result, selection=state.position.selection)
            begun = time.perf_counter()
            state.add(best, classifier, 0)
            captured = store.capture(state, classifier, optimizer)
            copied = time.perf_counter() - begun
            store.write(captured)
            found.append((evaluated, copied, evaluated + copied, time.perf_counter() - begun - copied))
    return [list(column) for column in zip(*found[REHEARSED:], strict=True)]


if __name__ == "__main__":
    main()
