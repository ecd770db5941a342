"""Shift: how far what a network is fed is from what its source was trained on.

Every number is an average over channels in source SDs: standard deviations of what the source was fed.
0 is no shift. All four are distances of the same kind (Wasserstein's), so they can be read side by side.
Pixels are those of the stored images; what augmentation does to them, as black padding, counts on neither side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from tracker.study.errors import DataError
from tracker.study.home import Home
from tracker.study.recipe import DatasetSpec, Recipe
from tracker.vision.datasets import packed_folder, packed_folders
from tracker.vision.images import ImageSet, Statistics
from tracker.vision.models import Classifier
from tracker.vision.normalizations import MinMax, ZScore
from tracker.vision.packed import read_manifest
from tracker.vision.sources import Source
from tracker.vision.statistics import histogram, shifted, statistics_of
from tracker.vision.stem import spaced_batches, stem_distance
from tracker.vision.wasserstein import Floats, wasserstein, wasserstein_to_normal

Known = Literal["histogram", "imagenet", "z-score"]

IMAGENET_PIXELS = Statistics((0.4845, 0.4541, 0.4025), (0.2724, 0.2637, 0.2761))
"""Mean and deviation over all pixels of ImageNet's training images, resized to 256 and cropped to 224.

The 0.229, 0.224, 0.225 that torchvision normalizes by are means of the deviations within single
images, so its networks were fed a deviation of about 1.2, not 1.

Source: pytorch/vision, issue 1439 (the table) and pull request 1965 (where the others come from)."""

POINTWISE = (MinMax, ZScore)
"""Normalizations that map a byte to the same number wherever it stands: a histogram says all."""
SAMPLE_IMAGES = 2_000
"""How many training images stand for all under any other normalization."""
SAMPLE_VALUES = 1 << 21
"""Values a channel kept of those at most: all of 2,000 images of 32 x 32; of larger ones a grid of pixels."""


@dataclass(frozen=True, eq=False)
class Reference:
    """What a source's network was fed while it was trained, as far as it is known.

    Args:
        known: histogram: its training images are at hand, and so is their whole distribution;
            imagenet: mean and deviation were measured, the shape is taken as normal; z-score: it
            was z-scored with its own mean and deviation, the shape is taken as normal.
        fed: mean and deviation, after its own normalization.
        values: (C, 256), ascending: what each byte became; None without a histogram.
        weights: (C, 256): the share of pixels with it.
    """

    known: Known
    fed: Statistics
    values: Floats | None = None
    weights: Floats | None = None


@dataclass(frozen=True)
class Shift:
    """A dataset's shift under one normalization, as one network sees it.

    Args:
        mean: of |mean of the input - the source's|.
        std: of |standard deviation of the input - the source's|; in a ratio a constant channel would be infinite.
        wasserstein: of the 1-Wasserstein distance between the two distributions of pixels.
        activations: of the 2-Wasserstein distance of the first convolution's output from what its
            BatchNorm recorded, both taken as normal; None where no BatchNorm follows it.
        known: what the first three compare with; see `Reference`.
    """

    mean: float
    std: float
    wasserstein: float
    activations: float | None
    known: Known

    def metrics(self) -> dict[str, float]:
        """Return the run's metrics by their logged names; what there is none of is left out."""
        found = {
            "shift_mean": self.mean,
            "shift_std": self.std,
            "shift_wasserstein": self.wasserstein,
            "shift_activations": self.activations,
        }
        return {name: value for name, value in found.items() if value is not None}


class ShiftMeter:
    """Measures shifts, each once: replicates, and settings that differ in training alone, share them."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._references: dict[str, Reference | None] = {}
        self._shifts: dict[tuple[str, ...], Shift] = {}

    def measure(
        self, recipe: Recipe, spec: DatasetSpec, images: ImageSet, source: Source, classifier: Classifier
    ) -> Shift | None:
        """Measure the shift of a cell's whole training split; None for random weights, which saw nothing before.

        Args:
            classifier: as it starts, on the CPU; unchanged.
        """
        if source.fingerprint not in self._references:
            self._references[source.fingerprint] = reference_of(source, source_histogram(source, self._home))
        reference = self._references[source.fingerprint]
        if reference is None:
            return None
        data = f"{images.name} {images.fingerprint} {recipe.statistics}"
        key = (source.fingerprint, recipe.model, data, recipe.normalization)
        if key not in self._shifts:
            counts = target_histogram(images, spec, self._home)
            self._shifts[key] = measure_shift(classifier, counts, images.train.images, reference)
        return self._shifts[key]


def reference_of(source: Source, counts: np.ndarray | None) -> Reference | None:
    """Say what a source was fed; None for random weights.

    Args:
        counts: the histogram of its training images, (C, 256), where they are known.
    """
    own = source.statistics
    if own is None:
        return None
    if counts is None:
        if source.name == "torchvision":
            return Reference("imagenet", shifted(IMAGENET_PIXELS, own))
        return Reference("z-score", shifted(own, own))
    values = (np.arange(256) / 255 - np.array(own.mean)[:, None]) / np.array(own.std)[:, None]  # (C, 256)
    return Reference("histogram", shifted(statistics_of(counts), own), values, _shares(counts, own.channels))


def source_histogram(source: Source, home: Home) -> np.ndarray | None:
    """Find the pixels a source was trained on among the packed datasets: those with exactly its statistics.

    They are of the whole training split, as the statistics are, even if it was trained on a part.

    Returns:
        int64, (C, 256); None where they are not at hand, or it was z-scored with published statistics.
    """
    if source.statistics is None or source.name == "torchvision":
        return None
    for folder in packed_folders(home):
        with suppress(DataError):  # a damaged one is for whoever uses it to complain about
            manifest = read_manifest(folder)
            if manifest is not None and manifest.statistics == source.statistics:
                return np.array(manifest.train_histogram, dtype=np.int64)
    return None


def target_histogram(images: ImageSet, spec: DatasetSpec, home: Home) -> np.ndarray:
    """Return the histogram of a dataset's training split, counted when it was packed; int64, (C, 256)."""
    manifest = read_manifest(packed_folder(images.name, spec, home))
    if manifest is not None and manifest.fingerprint == images.fingerprint:
        return np.array(manifest.train_histogram, dtype=np.int64)
    return histogram(images.train.images)


def measure_shift(classifier: Classifier, counts: np.ndarray, images: np.ndarray, reference: Reference) -> Shift:
    """Measure how far a dataset under a classifier's normalization is from what its source was fed.

    Nothing random is drawn and the classifier stays as it is. Under a z-score or minmax the first
    three numbers are exact; under others they are of up to `SAMPLE_IMAGES` images, evenly spaced.

    Args:
        classifier: as it starts, on the CPU.
        counts: the dataset's histogram, (1 or C, 256).
        images: its training images, uint8, (N, 1 or C, H, W).
    """
    with _evaluating(classifier):
        values, weights = input_distribution(classifier, counts, images)
        activations = stem_distance(classifier, images)
    means, stds, distances = [], [], []
    for channel, (mean, std) in enumerate(zip(reference.fed.mean, reference.fed.std, strict=True)):
        own, share = (values[channel] - mean) / std, weights[channel]
        centre = float(share @ own)
        means.append(abs(centre))
        stds.append(abs(math.sqrt(share @ (own - centre) ** 2) - 1))
        if reference.values is None or reference.weights is None:
            distances.append(wasserstein_to_normal(own, share))
        else:
            source = (reference.values[channel] - mean) / std
            distances.append(wasserstein(own, share, source, reference.weights[channel]))
    return Shift(
        mean=float(np.mean(means)),
        std=float(np.mean(stds)),
        wasserstein=float(np.mean(distances)),
        activations=activations,
        known=reference.known,
    )


@contextmanager
def _evaluating(classifier: Classifier) -> Iterator[None]:
    """Keep a classifier in evaluation mode, without gradients, and put each module's own mode back after."""
    modes = {module: module.training for module in classifier.modules()}
    classifier.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def input_distribution(classifier: Classifier, counts: np.ndarray, images: np.ndarray) -> tuple[Floats, Floats]:
    """Return what a network is fed: values, (C, n), ascending in each channel, and their shares, (C, n)."""
    if type(classifier.normalization) in POINTWISE:
        levels = torch.arange(256, dtype=torch.uint8).expand(1, classifier.channels, 1, 256)
        values = classifier.normalization(levels)[0, :, 0].double().numpy()  # (C, 256)
        return values, _shares(counts, classifier.channels)
    height, width = images.shape[2:]
    step = math.ceil(math.sqrt(min(len(images), SAMPLE_IMAGES) * height * width / SAMPLE_VALUES))
    fed = [
        classifier.normalization(batch)[:, :, ::step, ::step].transpose(0, 1).flatten(1)  # (C, n)
        for batch in spaced_batches(images, SAMPLE_IMAGES, classifier.channels)
    ]
    sample = np.sort(torch.cat(fed, dim=1).numpy(), axis=1).astype(np.float64)
    return sample, np.full(sample.shape, 1 / sample.shape[1])


def _shares(counts: np.ndarray, channels: int) -> Floats:
    """Return counts as shares of a channel, a single channel repeated; (C, 256)."""
    shares: Floats = np.broadcast_to(counts / counts.sum(axis=1, keepdims=True), (channels, 256))
    return shares
