"""The same images through an export and through the classifier that the sweep evaluated."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tracker.deploy.choosing import Choice
from tracker.deploy.opening import Run
from tracker.study.errors import DataError, TrackerError
from tracker.study.home import Home
from tracker.study.shifts import AS_IS
from tracker.tracking.files import read_files
from tracker.vision.checkpoint import CheckpointFacts
from tracker.vision.datasets import describe
from tracker.vision.models import Classifier
from tracker.vision.raw_shift import open_shifted
from tracker.vision.readers.pixels import fit_array

COUNT = 64
NOISE_SEED = 64
"""Of the images of noise, the same at every export."""
TOLERANCE = 1e-4
"""Of a probability. Measured: torch 0 for convolutional networks and 3e-7 for ViT, onnxruntime 2e-7."""
MIN_AGREEMENT = 0.9
"""With the sweep's own predictions, which a GPU's rounding may have made otherwise in a close case."""


@dataclass(frozen=True)
class Probe:
    """Images to verify with.

    Args:
        images: uint8, (N, C, S, S).
        what: in words.
        predicted: int, (N,): what the sweep made of each, where it is known.
    """

    images: np.ndarray
    what: str
    predicted: np.ndarray | None = None


@dataclass(frozen=True)
class Verification:
    """How an export agrees with its original.

    Args:
        images: how many were compared, and
        what: which.
        max_difference: the largest of a probability.
        same_class: of how many images the most probable class is the same.
        as_swept: of how many the sweep itself predicted that class; None where its predictions are not known.
        resized: height, width, and the largest difference for an image that is not square, whose
            original went through the reader's resize.
    """

    images: int
    what: str
    max_difference: float
    same_class: int
    as_swept: int | None
    resized: tuple[int, int, float]

    def lines(self) -> list[str]:
        """Return what to print."""
        height, width, difference = self.resized
        found = [
            f"verified on {self.images} {self.what}: largest difference of a probability {self.max_difference:.1g}, "
            f"same class for {self.same_class} of {self.images}",
            f"verified on an image of {width}x{height} pixels, resized by the export and by Pillow: {difference:.1g}",
        ]
        if self.as_swept is not None:
            found.append(f"class that the sweep predicted: {self.as_swept} of {self.images}")
        return found

    def document(self) -> dict[str, Any]:
        """Return plain JSON values."""
        height, width, difference = self.resized
        return {
            "images": self.images,
            "what": self.what,
            "max_difference": self.max_difference,
            "same_class": self.same_class,
            "as_swept": self.as_swept,
            "resized": {"height": height, "width": width, "max_difference": difference},
        }


def probe(choice: Choice, facts: CheckpointFacts, channels: int, rule: str, home: Home, uri: str) -> Probe:
    """Take images of the cell's test split if its dataset is on this machine, else seeded noise.

    Args:
        channels: C of the images.
        rule: whose predictions of the run to hold them against: `best` or `last`.
    """
    recipe, spec = choice.cell.recipe, choice.cell.dataset
    try:
        if describe(recipe.dataset, spec, home).state == "ready":
            found = open_shifted(recipe, spec, home)
            if found.fingerprint == facts.fingerprint and found.channels == channels:
                index, predicted = _swept_predictions(choice, rule, uri, len(found.test))
                chosen = np.unique(np.linspace(0, len(index) - 1, min(COUNT, len(index))).astype(int))
                shift = "" if recipe.shift == AS_IS else f", shifted by {recipe.shift}"
                images = np.ascontiguousarray(found.test.images[index[chosen]])
                what = f"test images of {recipe.dataset}{shift}"
                return Probe(images, what, None if predicted is None else predicted[chosen])
    except DataError:
        pass  # damaged or changed since: noise does
    noise = np.random.default_rng(NOISE_SEED)
    shape = (COUNT, channels, facts.image_size, facts.image_size)
    images = noise.integers(0, 256, shape, dtype=np.uint8)
    return Probe(images, f"images of noise, since dataset {recipe.dataset} as it was trained on is not on this machine")


def _swept_predictions(choice: Choice, rule: str, uri: str, count: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return which test images the run was judged on and what it made of them; all and None if it does not say."""
    run = choice.run
    content = read_files(uri, [(run.run_id, run.artifact_uri)], "predictions/predictions.npz").get(run.run_id)
    if content is not None:
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                index, predicted = arrays["index"], arrays[rule]
            if index.shape == predicted.shape and len(index) and index.min() >= 0 and index.max() < count:
                return index, predicted
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
            pass
    return np.arange(count), None


def verify(classifier: Classifier, run: Run, images: Probe, size: int) -> Verification:
    """Hold an export against its original.

    Args:
        classifier: as the sweep evaluates it.
        run: the export, loaded back from its file.
        size: S.

    Raises:
        TrackerError: they differ, or the sweep itself predicted something else.
    """

    def original(batch: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found: np.ndarray = classifier(torch.from_numpy(batch)).softmax(dim=1).numpy()
        return found

    wanted, found = original(images.images), run(images.images)  # (N, K)
    difference = _difference(wanted, found)
    same = wanted.argmax(axis=1) == found.argmax(axis=1)
    ties = np.take_along_axis(wanted, found.argmax(axis=1)[:, None], axis=1)[:, 0] >= wanted.max(axis=1) - TOLERANCE
    channels = images.images.shape[1]
    height, width = 2 * size + 7, 3 * size + 4
    noise = np.random.default_rng(NOISE_SEED)
    large = noise.integers(0, 256, (channels, height, width), dtype=np.uint8)
    by_pillow = np.array(fit_array(large, channels, size))  # PIL's own is read-only
    resized = _difference(original(by_pillow[None]), run(large[None]))
    as_swept = None if images.predicted is None else int((found.argmax(axis=1) == images.predicted).sum())
    result = Verification(len(same), images.what, difference, int(same.sum()), as_swept, (height, width, resized))
    if not difference <= TOLERANCE or not resized <= TOLERANCE or not bool((same | ties).all()):
        raise TrackerError(
            "the export does not agree with the network it was made of:\n"
            + "\n".join(f"  {line}" for line in result.lines()),
            "nothing was written; try another --format",
        )
    if as_swept is not None and as_swept < MIN_AGREEMENT * len(same):
        raise TrackerError(
            f"the checkpoint predicts what the sweep did for {as_swept} of {len(same)} {images.what} only: "
            "it is not the network that was evaluated",
            "nothing was written; run the cell anew with this version (`tracker retry --anew`)",
        )
    return result


def _difference(wanted: np.ndarray, found: np.ndarray) -> float:
    if wanted.shape != found.shape:
        return float("inf")
    return float(np.abs(wanted.astype(np.float64) - found).max())
