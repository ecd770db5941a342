"""Whether accelerated training ends where plain training does: `python -m benchmarks.fidelity --help`.

Trains the same recipe with the same seeds both ways, and compares test accuracies seed by seed: the mean
difference with its interval. Beside it, the spread over seeds, which is what a difference has to be held
against, and the share of test images that get another class: training amplifies a rounding, so two runs that
differ in nothing else are as different as two neighbours among seeds, and no more. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from tracker.study.home import Home
from tracker.study.recipe import DatasetSpec, Recipe
from tracker.training.execution import PLAIN, Execution, prepare, usual_execution
from tracker.training.splits import trial_data
from tracker.training.trial import EpochResult, build_classifier, run_epochs
from tracker.vision.datasets import open_dataset
from tracker.vision.images import ImageSet
from tracker.vision.sources import random_source

LEVEL = 0.95


def train(recipe: Recipe, images: ImageSet, device: torch.device, execution: Execution) -> EpochResult:
    """Return the last epoch's result."""
    classifier = prepare(build_classifier(recipe, images, random_source(recipe.model)), device, execution)
    data = trial_data(recipe, images, device)
    *_, last = run_epochs(recipe, classifier, data, device, execution=execution)
    return last


def main() -> None:
    """Train, compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, help="images, as CLASS/* or train/CLASS/*; by default scikit-learn's digits"
    )
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--limit-train", type=int)
    parser.add_argument("--limit-test", type=int)
    parser.add_argument("--seeds", type=int, default=5, help="1 to N (default: %(default)s)")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    kind = {"kind": "folder", "path": str(options.folder.absolute())} if options.folder else {"kind": "digits"}
    spec = DatasetSpec.model_validate({**kind, "image_size": options.image_size})
    name = options.folder.name if options.folder else "digits"
    pairs = []
    with tempfile.TemporaryDirectory(prefix="benchmark-") as place:
        images = open_dataset(name, spec, Home(Path(place)))
        usual = usual_execution(device)
        for seed in range(1, options.seeds + 1):
            recipe = Recipe(
                model=options.model, dataset=name, normalization="finetune", source="random", seed=seed,
                epochs=options.epochs, batch_size=options.batch_size, flip=name != "digits",
                limit_train=options.limit_train, limit_test=options.limit_test,
            )  # fmt: skip
            pair = train(recipe, images, device, PLAIN), train(recipe, images, device, usual)
            pairs.append(pair)
            shown = " ".join(f"{100 * result.metrics['test_acc']:.2f}" for result in pair)
            print(f"seed {seed}: {shown}", file=sys.stderr)
    plain, fast = (np.array([100 * pair[side].metrics["test_acc"] for pair in pairs]) for side in (0, 1))
    other = [100 * float((one.predictions != two.predictions).float().mean()) for one, two in pairs]
    seeds = [
        100 * float((one[0].predictions != two[0].predictions).float().mean()) for one, two in itertools.pairwise(pairs)
    ]
    difference = fast - plain
    half = stats.t.ppf((1 + LEVEL) / 2, len(pairs) - 1) * difference.std(ddof=1) / len(pairs) ** 0.5
    print(f"{options.model} on {name}, {options.epochs} epochs, {len(pairs[0][0].predictions)} test images, ", end="")
    print(f"{len(pairs)} seeds; {usual}; Python {platform.python_version()}, torch {version('torch')}\n")
    print("| | plain | accelerated |\n|---|--:|--:|")
    print(f"| test accuracy, %, mean | {plain.mean():.2f} | {fast.mean():.2f} |")
    print(f"| standard deviation over seeds | {plain.std(ddof=1):.2f} | {fast.std(ddof=1):.2f} |")
    print(f"\naccelerated minus plain: {difference.mean():+.2f} points, {100 * LEVEL:.0f} % interval ", end="")
    print(f"[{difference.mean() - half:+.2f}, {difference.mean() + half:+.2f}]")
    print(f"test images of another class: {np.mean(other):.1f} % between the two ways with one seed, ", end="")
    print(f"{np.mean(seeds):.1f} % between two seeds of the plain way")


if __name__ == "__main__":
    main()
