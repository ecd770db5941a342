"""What becomes of a network whose first convolution pads with black: `python -m benchmarks.padding --help`.

A normalization folds into the first convolution, save for its padding: zeros are the mean's colour
before, and black after. Compares each network, folded with its border as it was (`exact`) and with black
ones (`zero`), on real images: those of scikit-learn, or of a dataset in a home folder. Networks have random
weights, or are checkpoints of `tracker pretrain` and of cells. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from tracker.study.errors import DataMissing, TrackerError
from tracker.study.home import Home
from tracker.vision.checkpoint import load_classifier
from tracker.vision.datasets import packed_folders
from tracker.vision.folding import fold_normalization
from tracker.vision.images import Split
from tracker.vision.models import Classifier, build_network
from tracker.vision.normalizations import ZScore
from tracker.vision.packed import open_packed, read_manifest
from tracker.vision.statistics import PUBLISHED

MODELS = ("resnet18", "resnet50", "densenet121", "densenet161")
STATISTICS = ("imagenet", "cifar10")
SIZES = (32, 64)
CLASSES = 10
SEED = 7
BATCH = 64
SHRINK = 4
"""A piece of a photograph is this many times the image it becomes: objects, not texture."""
NORMAL = 1.96
"""Standard errors of a 95 % interval: of the paired difference on this test split, for this one network."""
REACH = 8
"""Images that say which positions change."""
CHANGED = 1e-5
"""A position differs when a channel does by more than this share of the map's largest value."""


@dataclass(frozen=True)
class Effect:
    """How far logits with black borders are from those with exact ones.

    Args:
        rms, worst: of the difference, in standard deviations of a logit over images.
        changed: share of images whose top class is another.
        rounding: the largest difference between the folded network with exact borders and the original, likewise.
    """

    rms: float
    worst: float
    changed: float
    rounding: float


def photographs(count: int, size: int) -> Tensor:
    """Cut pieces out of scikit-learn's two photographs and shrink them; uint8, (count, 3, size, size)."""
    rng = np.random.default_rng([SEED, size])
    pictures = load_sample_images().images
    wide = SHRINK * size
    pieces = []
    for number in range(count):
        picture = pictures[number % len(pictures)]
        top, left = (int(rng.integers(0, length - wide + 1)) for length in picture.shape[:2])
        piece = torch.from_numpy(np.ascontiguousarray(picture[top : top + wide, left : left + wide]))
        pieces.append(piece.permute(2, 0, 1))
    return resized(torch.stack(pieces), size)


def resized(images: Tensor, size: int) -> Tensor:
    """Resize bytes; (N, C, size, size)."""
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)


def packed_split(home: Home, *, name: str | None = None, fingerprint: str | None = None) -> Split:
    """Return the test split of the packed dataset of this name, or of this fingerprint.

    Raises:
        DataMissing: it is not in this home folder.
    """
    for folder in packed_folders(home):
        manifest = read_manifest(folder)
        if manifest is not None and (manifest.name == name or manifest.fingerprint == fingerprint):
            return open_packed(folder, manifest, name=manifest.name).test
    raise DataMissing(f"dataset {name or fingerprint} is not packed under {home.data}", "give its --home")


def random_network(model: str, statistics: str, images: Tensor) -> Classifier:
    """Build a network with random weights whose BatchNorms recorded these images, as training leaves them."""
    network, head = build_network(model, channels=3, classes=CLASSES, seed=SEED)
    classifier = Classifier(ZScore(PUBLISHED[statistics]), network, head, 3).train()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the plain mean over all batches
        norm.reset_running_stats()
    with torch.no_grad():
        for batch in images.split(BATCH):
            classifier(batch)
    return classifier.eval()


@torch.no_grad()
def logits_of(classifier: Classifier, images: Tensor) -> Tensor:
    """Return logits, float64, (N, K)."""
    return torch.cat([classifier(batch).double() for batch in images.split(BATCH)])


def borders(classifier: Classifier, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits of the original, of the folded network with exact borders, and with black ones."""
    unit = images.float().div(255)
    exact, zero = fold_normalization(classifier, "exact"), fold_normalization(classifier, "zero")
    return logits_of(classifier, images), logits_of(exact, unit), logits_of(zero, unit)


def effect_of(original: Tensor, exact: Tensor, zero: Tensor) -> Effect:
    """Compare three times the logits of the same images, (N, K)."""
    spread = exact.std(dim=0)  # (K,)
    apart = (zero - exact) / spread
    return Effect(
        rms=float(apart.square().mean().sqrt()),
        worst=float(apart.abs().max()),
        changed=float((zero.argmax(dim=1) != exact.argmax(dim=1)).double().mean()),
        rounding=float(((exact - original) / spread).abs().max()),
    )


@contextmanager
def watched(classifier: Classifier) -> Iterator[list[Tensor]]:
    """Collect the output of every BatchNorm, in order, while images go through."""
    seen: list[Tensor] = []
    norms = [module for module in classifier.network.modules() if isinstance(module, nn.BatchNorm2d)]
    handles = [norm.register_forward_hook(lambda _module, _inputs, output: seen.append(output)) for norm in norms]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def reach(classifier: Classifier, images: Tensor) -> dict[int, float]:
    """Return the share of positions that black borders change, at the last BatchNorm of each map size."""
    maps = []
    for border in ("exact", "zero"):
        folded = fold_normalization(classifier, border)  # type: ignore[arg-type]
        with watched(folded) as seen:
            folded(images.float().div(255))
        maps.append(seen)
    shares = {}
    for exact, zero in zip(*maps, strict=True):
        apart = (exact - zero).abs().amax(dim=(0, 1)) > CHANGED * exact.abs().max()  # (H, W)
        shares[exact.shape[-1]] = float(apart.double().mean())
    return shares


def touched(network: nn.Module, size: int) -> float:
    """Return the share of the first convolution's outputs that have padding under their kernel."""
    stem = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    kernel = torch.ones(1, 1, *stem.kernel_size)
    taps = F.conv2d(torch.ones(1, 1, size, size), kernel, stride=stem.stride, padding=stem.padding)  # type: ignore[arg-type]
    return float((taps < kernel.sum()).double().mean())


def shown(effect: Effect) -> str:
    """Return four cells of a table."""
    return f"{effect.rms:.3f} | {effect.worst:.2f} | {100 * effect.changed:.1f} % | {effect.rounding:.1e}"


def random_rows(images: dict[int, Tensor]) -> tuple[list[str], list[str]]:
    """Measure the four models with random weights: rows of the first table and of the second."""
    spread, rows = [], []
    for model in MODELS:
        for size, batch in images.items():
            for statistics in STATISTICS:
                classifier = random_network(model, statistics, batch)
                if statistics == STATISTICS[0]:
                    later = ", ".join(
                        f"{side}²: {100 * share:.0f} %" for side, share in reach(classifier, batch[:REACH]).items()
                    )
                    share = touched(classifier.network, size)
                    spread.append(f"| {model} | {size} | {100 * share:.1f} % | {later} |")
                effect = effect_of(*borders(classifier, batch))
                rows.append(f"| {model} | {size} | {statistics} | {shown(effect)} |")
                print(rows[-1], file=sys.stderr)
    return spread, rows


def checkpoint_row(path: Path, home: Home) -> str:
    """Measure a trained network on the whole test split of what it was trained on."""
    classifier, facts = load_classifier(path)
    split = packed_split(home, fingerprint=facts.fingerprint)
    labels = torch.from_numpy(split.labels)
    original, exact, zero = borders(classifier, torch.from_numpy(np.array(split.images)))
    right, black = (logits.argmax(dim=1) == labels for logits in (exact, zero))
    lost, won = int((right & ~black).sum()), int((black & ~right).sum())
    gain = black.double() - right.double()
    margin = NORMAL * float(gain.std()) / len(labels) ** 0.5
    accuracies = " | ".join(f"{100 * float(each.double().mean()):.2f}" for each in (right, black))
    name = f"{facts.model}, {facts.dataset}, {facts.normalization}"
    return (
        f"| {name} | {classifier.channels} | {facts.image_size} | {len(labels):,} | {accuracies} | "
        f"{100 * float(gain.mean()):+.2f} ± {100 * margin:.2f} | {lost} | {won} | "
        f"{shown(effect_of(original, exact, zero))} |"
    )


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64, help="for the random networks (default: %(default)s)")
    parser.add_argument("--dataset", help="test images of this dataset in --home, not scikit-learn's photographs")
    parser.add_argument("--checkpoint", type=Path, nargs="+", default=[], help="trained networks; no random ones then")
    parser.add_argument("--home", help="where datasets are packed (default: as for tracker)")
    options = parser.parse_args(given)
    if options.images < 2:
        parser.error("--images: at least 2, or a logit has no deviation")
    return options


def main(given: Sequence[str] | None = None) -> None:
    """Measure and print the tables."""
    options = arguments(given)
    home = Home.find(options.home)
    effect = "RMS, SD | largest, SD | other class | rounding, SD"
    print(f"Python {platform.python_version()}, torch {version('torch')}, {torch.get_num_threads()} threads\n")
    if options.checkpoint:
        rows = [checkpoint_row(path, home) for path in options.checkpoint]
        print(f"| network | C | size | images | exact, % | black, % | difference, points | lost | won | {effect} |")
        print("|---|" + "--:|" * 12, *rows, sep="\n")
        return
    if options.dataset:
        own = torch.from_numpy(np.array(packed_split(home, name=options.dataset).images))
        chosen = own[torch.arange(min(options.images, len(own))) * len(own) // min(options.images, len(own))]
        images = {size: resized(chosen, size).expand(-1, 3, -1, -1) for size in SIZES}
    else:
        images = {size: photographs(options.images, size) for size in SIZES}
    spread, rows = random_rows(images)
    print("| model | size | first convolution | changed at the last BatchNorm of each map |\n|---|--:|--:|---|")
    print(*spread, sep="\n")
    print(f"\n| model | size | statistics | {effect} |\n|---|--:|---|--:|--:|--:|--:|", *rows, sep="\n")


if __name__ == "__main__":
    try:
        main()
    except TrackerError as error:
        sys.exit(str(error))
