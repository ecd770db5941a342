"""A look at models and normalizations of installed packages: do they do on real images what is asked of them?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tracker.study.errors import DataError
from tracker.study.extensions import Extension, find_extension
from tracker.study.recipe import Recipe
from tracker.sweep.probes import PROBE_IMAGES, StartingPoint, probe_images
from tracker.training.trial import target_statistics
from tracker.vision.extensions import blamed, wrong
from tracker.vision.images import ImageSet
from tracker.vision.models import Classifier, build_network
from tracker.vision.normalizations import BUILDERS, MinMax, build_normalization


def probe_own_normalization(name: str, recipe: Recipe, images: ImageSet, start: StartingPoint) -> None:
    """Apply a package's normalization to one batch; a built-in one is let through.

    Raises:
        TrackerError: it cannot be built, fails, or gives anything but float32 of the images' shape.
    """
    own = find_extension("tracker.normalizations", name, built_in=name in BUILDERS)
    if own is None or images.channels > start.channels:  # the latter is refused for every normalization
        return
    batch = probe_images(images, start.channels).clone()  # a package's code may write to it
    target = target_statistics(recipe, images)
    module = build_normalization(name, target=target, source=start.statistics, channels=start.channels)
    kept = batch.clone()
    outcome = _run(own, module, batch, images)
    if not isinstance(outcome, Tensor):
        raise wrong(own, f"gives {type(outcome).__name__} for a batch of images, not a tensor")
    if outcome.dtype != torch.float32 or outcome.shape != batch.shape:
        given = f"{outcome.dtype} {tuple(outcome.shape)}".removeprefix("torch.")
        raise wrong(own, f"gives {given} for uint8 {tuple(batch.shape)}, not float32 of that shape")
    if not torch.equal(batch, kept):
        raise wrong(own, "changes the images it is given")


def probe_own_model(recipe: Recipe, images: ImageSet, start: StartingPoint) -> None:
    """Run a package's model once with one class more than there are; a model of torchvision is let through.

    That its logits have as many columns as its new head has rows tells that the layer which was replaced
    is the last one.

    Raises:
        TrackerError: it cannot be built, fails, or does not give logits of its head.
    """
    own = find_extension("tracker.models", recipe.model, built_in=False)
    if own is None or images.channels > start.channels:
        return
    classes = len(images.classes) + 1
    network, head = build_network(recipe.model, channels=start.channels, classes=classes, seed=recipe.seed)
    classifier = Classifier(MinMax(), network, head, start.channels).eval()
    logits = _run(own, classifier, probe_images(images, images.channels).clone(), images)
    if not isinstance(logits, Tensor):
        raise wrong(own, f"gives {type(logits).__name__} for a batch of images, not a tensor")
    wanted = (min(PROBE_IMAGES, len(images.train)), classes)
    if logits.shape != wanted:
        raise wrong(
            own,
            f"gives {tuple(logits.shape)} where its head {head!r}, its last linear layer, gives {wanted}: "
            "the layer that makes the logits must be registered last",
        )


def _run(own: Extension, module: nn.Module, batch: Tensor, images: ImageSet) -> object:
    what = f"fails on the {images.image_size} x {images.image_size} images of dataset {images.name}"
    with blamed(own, what, DataError), torch.no_grad():
        return module(batch)
