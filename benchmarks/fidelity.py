"""Whether training ends where plain fp32 training ends: `python -m benchmarks.fidelity --help`.

Trains the same recipe with the same seeds in two ways, plainly and accelerated, or with `--precision` in fp32 and in
that precision, both accelerated. Test accuracies are compared seed by seed: the mean difference with its interval.
Beside it, the spread over seeds, which is what a difference has to be held against, and the share of test images that
get another class: training amplifies a rounding, so two runs that differ in nothing else are as different as two
neighbours among seeds, and no more. Prints a Markdown table.

A precision is fit to be a study's default if the normalizations keep their ranking and their accuracies move by less
than 0.1 points on average; give four of them, and enough seeds:

    python -m benchmarks.fidelity --precision bf16 --device cuda --folder FOLDER --weights-dir DIR --seeds 10 \\
        --normalizations finetune,pretrain,instance,minmax

From random weights a short training is chaos: what a rounding becomes hides what is looked for. From pre-trained ones,
which is what a sweep does, much less becomes of it; `--pretrain CLASSES` makes such weights first, of those classes'
images alone. With `--float64` both ways compute in it: what is different then is no rounding.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from tracker.study.home import Home
from tracker.study.recipe import NORMALIZATIONS, PRECISIONS, DatasetSpec, Precision, Recipe
from tracker.training.device import describe_device
from tracker.training.execution import PLAIN, Execution, parse_execution, prepare
from tracker.training.splits import trial_data
from tracker.training.trial import EpochResult, build_classifier, run_epochs
from tracker.vision.datasets import open_dataset
from tracker.vision.images import ImageSet
from tracker.vision.sources import Source, random_source, torchvision_source, weights_file

LEVEL = 0.95
MOST = 0.1
"""Points that a default may move accuracies by, on average."""


@dataclass(frozen=True)
class Way:
    """One of the two ways that are compared."""

    name: str
    execution: Execution
    precision: Precision
    float64: bool = False


@dataclass(frozen=True)
class Compared:
    """What the two ways made of one normalization.

    Args:
        accuracies: of each way, by seed, percent; (2, S).
        moved: test images that get another class the other way, percent, mean over seeds.
        seeds_apart: the same between neighbouring seeds of the first way.
    """

    normalization: str
    accuracies: np.ndarray
    moved: float
    seeds_apart: float

    @property
    def difference(self) -> tuple[float, float]:
        """The second way's accuracy less the first's, points: the mean, and half its interval's width."""
        return interval(self.accuracies[1] - self.accuracies[0])


def interval(differences: np.ndarray) -> tuple[float, float]:
    """Return the mean of paired differences, and half the width of its interval, by Student's t."""
    count = len(differences)
    half = stats.t.ppf((1 + LEVEL) / 2, count - 1) * differences.std(ddof=1) / count**0.5
    return float(differences.mean()), float(half)


def train(recipe: Recipe, images: ImageSet, source: Source, device: torch.device, way: Way) -> EpochResult:
    """Return the last epoch's result."""
    recipe = recipe.model_copy(update={"precision": way.precision})
    classifier = prepare(build_classifier(recipe, images, source), device, way.execution, recipe.precision)
    if way.float64:
        classifier.network.double().register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    data = trial_data(recipe, images, device)
    *_, last = run_epochs(recipe, classifier, data, device, execution=way.execution)
    return last


def pretrained(recipe: Recipe, images: ImageSet, device: torch.device, way: Way) -> Source:
    """Return weights trained on other images than those that are compared, with these images' statistics."""
    classifier = prepare(build_classifier(recipe, images, random_source(recipe.model)), device, way.execution)
    for result in run_epochs(recipe, classifier, trial_data(recipe, images, device), device, execution=way.execution):
        accuracy = 100 * result.metrics["test_acc"]
        print(f"pre-training, epoch {result.epoch + 1} of {recipe.epochs}: {accuracy:.2f}", file=sys.stderr, flush=True)
    state = {name: tensor.cpu().contiguous() for name, tensor in classifier.network.state_dict().items()}
    told = f"{recipe.epochs} epochs of {', '.join(images.classes)}"
    return Source("pre-trained", recipe.model, classifier.channels, images.statistics, state, told)


def compare(
    recipes: Sequence[Recipe], images: ImageSet, source: Source, device: torch.device, ways: list[Way]
) -> Compared:
    """Train recipes that differ in their seed alone, each both ways."""
    pairs = []
    for recipe in recipes:
        pairs.append([train(recipe, images, source, device, way) for way in ways])
        shown = " ".join(f"{100 * result.metrics['test_acc']:.2f}" for result in pairs[-1])
        print(f"{recipe.normalization} seed {recipe.seed}: {shown}", file=sys.stderr, flush=True)
    accuracies = np.array([[100 * pair[side].metrics["test_acc"] for pair in pairs] for side in (0, 1)])
    moved = np.mean([apart(one, other) for one, other in pairs])
    seeds_apart = np.mean([apart(one[0], other[0]) for one, other in itertools.pairwise(pairs)])
    return Compared(recipes[0].normalization, accuracies, float(moved), float(seeds_apart))


def apart(one: EpochResult, other: EpochResult) -> float:
    """Return the share of test images that two results give different classes, percent."""
    return 100 * float((one.predictions != other.predictions).float().mean())


def table(found: Sequence[Compared], ways: list[Way]) -> str:
    """Return a row for each normalization."""
    first, second = (way.name for way in ways)
    lines = [
        f"| | {first}, % | {second}, % | {second} minus {first}, points, {100 * LEVEL:.0f} % interval | "
        f"SD over seeds, {first} | {second} | another class, {first} to {second} | seed to seed |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for each in found:
        mean, half = each.difference
        means, spread = each.accuracies.mean(axis=1), each.accuracies.std(axis=1, ddof=1)
        lines.append(
            f"| {each.normalization} | {means[0]:.2f} | {means[1]:.2f} | {mean:+.2f} [{mean - half:+.2f}, "
            f"{mean + half:+.2f}] | {spread[0]:.2f} | {spread[1]:.2f} | {each.moved:.1f} % | {each.seeds_apart:.1f} % |"
        )
    return "\n".join(lines)


def verdict(found: Sequence[Compared], ways: list[Way]) -> str:
    """Say whether the second way may take the place of the first: ranking, and how far accuracies move."""
    rankings = [[each.normalization for each in ranked(found, side)] for side in (0, 1)]
    lines = [f"ranking in {way.name}: {', '.join(names)}" for way, names in zip(ways, rankings, strict=True)]
    for one, other in itertools.combinations(found, 2):
        both = [interval(one.accuracies[side] - other.accuracies[side]) for side in (0, 1)]
        if both[0][0] * both[1][0] < 0:
            told = " and ".join(
                f"{mean:+.2f} [{mean - half:+.2f}, {mean + half:+.2f}] in {way.name}"
                for way, (mean, half) in zip(ways, both, strict=True)
            )
            lines.append(f"{one.normalization} minus {other.normalization}: {told}")
    moved = float(np.mean([abs(each.difference[0]) for each in found]))
    lines.append(f"mean |difference| of {len(found)} normalizations' means: {moved:.3f} points, of {MOST} allowed")
    widest = max(each.difference[1] for each in found)
    if not any(each.moved for each in found):
        lines.append("undecided: no test image changed its class, so too little was learned to tell the two apart")
    elif widest > MOST:
        lines.append(f"undecided: the widest interval is ±{widest:.2f} points; more seeds, or more test images")
    else:
        fit = rankings[0] == rankings[1] and moved < MOST
        lines.append(f"{ways[1].name} {'meets' if fit else 'does not meet'} the condition for a default, on this data")
    return "\n".join(lines)


def ranked(found: Sequence[Compared], side: int) -> list[Compared]:
    """Return normalizations by one way's mean accuracy, the best first."""
    return sorted(found, key=lambda each: -each.accuracies[side].mean())


def main() -> None:
    """Train, compare, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, help="images, as CLASS/* or train/CLASS/*; by default scikit-learn's digits"
    )
    parser.add_argument("--precision", choices=[name for name in PRECISIONS if name != "fp32"], help="beside fp32")
    parser.add_argument("--normalizations", default="finetune", help=f"some of {','.join(NORMALIZATIONS)}")
    parser.add_argument("--weights-dir", type=Path, help="with torchvision's weights; by default random ones")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.001, help="of the first epoch (default: %(default)s)")
    parser.add_argument("--pretrain", metavar="CLASSES", help="make the starting weights of these classes of FOLDER")
    parser.add_argument("--pretrain-epochs", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--float64", action="store_true", help="both ways compute in it")
    parser.add_argument("--limit-train", type=int)
    parser.add_argument("--limit-test", type=int)
    parser.add_argument("--seeds", type=int, default=5, help="1 to N, at least 2 (default: %(default)s)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--accelerate", default="auto", help="as `tracker sweep --accelerate` (default: %(default)s)")
    options = parser.parse_args()
    names = options.normalizations.split(",")
    if options.pretrain and (options.weights_dir or not options.folder):
        parser.error("--pretrain: of --folder, and not with --weights-dir")
    if options.seeds < 2 or not set(names) <= set(NORMALIZATIONS):
        parser.error(f"--seeds: at least 2; --normalizations: some of {','.join(NORMALIZATIONS)}")
    device = torch.device(options.device)
    usual = parse_execution(options.accelerate, device)
    ways = [Way(name, how, "fp32", options.float64) for name, how in (("plain", PLAIN), ("accelerated", usual))]
    if options.precision:
        ways = [Way("fp32", usual, "fp32"), Way(options.precision, usual, options.precision)]
    kind = {"kind": "folder", "path": str(options.folder.absolute())} if options.folder else {"kind": "digits"}
    spec = DatasetSpec.model_validate({**kind, "image_size": options.image_size, "channels": 3})
    name = options.folder.name if options.folder else "digits"
    with tempfile.TemporaryDirectory(prefix="benchmark-") as place:
        images = open_dataset(name, spec, Home(Path(place)))
        file = weights_file(options.model, "IMAGENET1K_V1", home=Home(Path(place)), weights_dir=options.weights_dir)
        source = replace(random_source(options.model), statistics=file.statistics)  # for `pretrain`
        if options.weights_dir:
            source = torchvision_source(options.model, file)
        if options.pretrain:
            chosen = spec.model_copy(update={"classes": tuple(options.pretrain.split(","))})
            there = open_dataset("pre-training", chosen, Home(Path(place)))
            recipe = Recipe(
                model=options.model, dataset="pre-training", normalization="finetune", source="random",
                epochs=options.pretrain_epochs,
            )  # fmt: skip
            source = pretrained(recipe, there, device, ways[1])
        found = []
        for normalization in names:
            recipes = [
                Recipe(
                    model=options.model, dataset=name, normalization=normalization, seed=seed, source=source.name,
                    epochs=options.epochs, batch_size=options.batch_size, lr=options.lr, flip=name != "digits",
                    limit_train=options.limit_train, limit_test=options.limit_test,
                )
                for seed in range(1, options.seeds + 1)
            ]  # fmt: skip
            found.append(compare(recipes, images, source, device, ways))
    print(
        f"{options.model} ({source.fingerprint}) on {name}, {options.epochs} epochs of batch {options.batch_size}, ",
        end="",
    )
    print(
        f"{min(options.limit_test or len(images.test), len(images.test))} test images, {options.seeds} seeds; ", end=""
    )
    print(f"{usual}; {describe_device(device)}, Python {platform.python_version()}, torch {version('torch')}\n")
    print(table(found, ways))
    if options.precision:
        print(f"\n{verdict(found, ways)}")


if __name__ == "__main__":
    main()
