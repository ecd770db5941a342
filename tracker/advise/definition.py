"""The study that a request and a plan make, and the plan that a stored study was made with."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch

from tracker.advise.planning import Plan, crop_padding_for
from tracker.advise.request import Names, Request
from tracker.significance.verdicts import FIRST_SEEDS
from tracker.study.errors import DataError
from tracker.study.load import parse_study
from tracker.study.printing import printable
from tracker.study.recipe import DatasetSpec, Recipe
from tracker.study.study import Study
from tracker.sweep.probes import probe_images
from tracker.vision.images import ImageSet
from tracker.vision.normalizations import build_normalization

SETTINGS = ("pretrain", "finetune", "instance", "minmax")


def settings_of(request: Request) -> tuple[str, ...]:
    """Return the normalizations that can be compared: `pretrain` needs a source with statistics."""
    return tuple(name for name in SETTINGS if name != "pretrain" or request.source.statistics is not None)


def distinct_settings(names: Sequence[str], request: Request, images: ImageSet) -> tuple[list[str], dict[str, str]]:
    """Apply the normalizations to some images; of two that do the same only the first is worth a run.

    Returns:
        Those to compare, and those left out, each with the one that it equals.

    Raises:
        DataError: all do the same.
    """
    channels = request.source.channels or images.channels
    batch = probe_images(images, channels)
    own = request.source.statistics
    outcomes = {
        name: build_normalization(name, target=images.statistics, source=own, channels=channels)(batch)
        for name in names
    }
    same: dict[str, str] = {}
    for first, second in combinations(names, 2):
        if first not in same and second not in same and torch.equal(outcomes[first], outcomes[second]):
            same[second] = first
    kept = [name for name in names if name not in same]
    if len(kept) < 2:
        raise DataError("all normalizations do the same to these images: there is nothing to compare")
    return kept, same


def recipe_keys(request: Request, names: Names, plan: Plan, images: ImageSet) -> dict[str, str | int]:
    """Return what the study holds constant; the rest is the reference protocol's."""
    keys: dict[str, str | int] = {
        **request.source.recipe,
        "dataset": names.dataset,
        "tune": request.tune,
        "epochs": plan.epochs,
        "batch_size": plan.batch_size,
        "crop_padding": crop_padding_for(images.image_size),
    }
    if plan.train < len(images.train):
        keys["limit_train"] = plan.train
    if plan.test < len(images.test):
        keys["limit_test"] = plan.test
    return keys


def make_study(
    request: Request, names: Names, spec: DatasetSpec, plan: Plan, images: ImageSet, settings: Sequence[str]
) -> Study:
    """Return an ordinary study, to be grown by its own comparisons.

    Seeds are the slower axis: where the time runs out, the runs that are done are in pairs.
    """
    document = {
        "name": names.study,
        "question": f"Which normalization suits the images in {printable(request.root.name) or '/'}, for "
        f"{request.source}, tune {request.tune}?",
        "baseline": settings[0],
        "datasets": {names.dataset: spec.model_dump(mode="json", exclude_defaults=True)},
        "recipe": recipe_keys(request, names, plan, images),
        "axes": {"seed": list(range(1, FIRST_SEEDS + 1)), "normalization": list(settings)},
        "looks": 1,
    }
    return parse_study(document, file="tracker advise")


def plan_of(study: Study, train: int, test: int, cell_seconds: float) -> Plan:
    """Return the plan that a stored study was made with.

    Args:
        train, test: images there are.
        cell_seconds: what its runs took.
    """
    recipe: Recipe = study.grid[0].recipe
    return Plan(
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        train=min(train, recipe.limit_train or train),
        test=min(test, recipe.limit_test or test),
        cell_seconds=cell_seconds,
    )
