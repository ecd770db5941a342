"""What a network is fed with: each dataset's channels under each normalization, the reference study's Table 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tracker.compare.leaderboard import normalizations_of
from tracker.study.errors import TrackerError
from tracker.study.home import Home
from tracker.study.recipe import DatasetSpec, Recipe
from tracker.study.study import Study
from tracker.vision.datasets import packed_folder
from tracker.vision.images import Statistics
from tracker.vision.packed import Manifest, read_manifest
from tracker.vision.statistics import PUBLISHED, shifted

if TYPE_CHECKING:
    from tracker.tracking.records import RunRecord

Origin = Literal["exact", "published"]


@dataclass(frozen=True)
class Channels:
    """A dataset's training images, as a normalization hands them to the network.

    Args:
        setting: the normalization; "" for the images as they are, in [0, 1].
        source: whose statistics `pretrain` takes, where the study has several; else "".
        mean, std: (C,).
        origin: exact: counted from the packed training images; published: they are not on this machine.
    """

    dataset: str
    setting: str
    source: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: Origin


@dataclass(frozen=True)
class DatasetFacts:
    """A dataset of a study.

    Args:
        train, test, val: images that the runs used, as they say; None where none says it.
        classes: how many, and
        shape: (C, H, W); None where the images are not on this machine.
        fingerprints: of the content, as the runs say.
        statistics: of the training images; None where neither they nor published ones are at hand.
    """

    dataset: str
    train: int | None
    test: int | None
    val: int | None
    classes: int | None
    shape: tuple[int, int, int] | None
    fingerprints: tuple[str, ...]
    statistics: Statistics | None
    origin: Origin | None


def dataset_facts(study: Study, runs: Sequence[RunRecord], home: Home | None) -> list[DatasetFacts]:
    """Gather what runs and this machine say of a study's datasets.

    Packed images of another content than the runs' are not those of the study, and are not looked at.

    Args:
        home: where packed images may lie; None for none.
    """
    found = []
    for name, spec in {cell.recipe.dataset: cell.dataset for cell in study.cells}.items():
        own = {cell.id for cell in study.cells if cell.recipe.dataset == name}
        tags = [run.tags for run in runs if run.cell_id in own]
        fingerprints = tuple(sorted({each["dataset.fingerprint"] for each in tags if "dataset.fingerprint" in each}))
        manifest = _manifest(name, spec, home)
        if manifest is not None and fingerprints and manifest.fingerprint not in fingerprints:
            manifest = None
        statistics, origin = _statistics(name, manifest)
        found.append(
            DatasetFacts(
                dataset=name,
                train=_count(tags, "tracker.train_images"),
                test=_count(tags, "tracker.test_images"),
                val=_count(tags, "tracker.val_images"),
                classes=len(manifest.classes) if manifest else None,
                shape=manifest.shapes["train"][1:] if manifest else None,
                fingerprints=fingerprints,
                statistics=statistics,
                origin=origin,
            )
        )
    return found


def channels_of(study: Study, datasets: Sequence[DatasetFacts], home: Home | None) -> list[Channels]:
    """Compute what each dataset's channels become under each built-in normalization of the study.

    Per image every channel gets mean 0 and deviation 1 by construction, images of one colour excepted.
    """
    known = {facts.dataset: facts for facts in datasets}
    settings = normalizations_of(study)
    found = []
    for name, facts in known.items():
        own, origin = facts.statistics, facts.origin
        if own is None or origin is None:
            continue
        recipes = [cell.recipe for cell in study.cells if cell.recipe.dataset == name]
        found.append(Channels(name, "", "", own.mean, own.std, origin))
        for setting in settings:
            if setting == "minmax":
                found.append(Channels(name, setting, "", own.mean, own.std, origin))
            elif setting == "instance":
                zeros, ones = (0.0,) * own.channels, (1.0,) * own.channels
                found.append(Channels(name, setting, "", zeros, ones, origin))
            elif setting == "finetune":
                told = PUBLISHED.get(name, own) if recipes[0].statistics == "published" else own
                after = shifted(own, told)
                found.append(Channels(name, setting, "", after.mean, after.std, origin))
            elif setting == "pretrain":
                sources = _sources(study, recipes, home)
                for source, statistics in sources.items():
                    after = shifted(own, statistics)
                    label = source if len(sources) > 1 else ""
                    found.append(Channels(name, setting, label, after.mean, after.std, origin))
    return found


def _sources(study: Study, recipes: Sequence[Recipe], home: Home | None) -> Mapping[str, Statistics]:
    """Return the statistics of the sources that these cells start from, those that can be told."""
    found: dict[str, Statistics] = {}
    for recipe in recipes:
        if recipe.source not in found and (statistics := _source(study, recipe, home)) is not None:
            found[recipe.source] = statistics
    return found


def _source(study: Study, recipe: Recipe, home: Home | None) -> Statistics | None:
    if recipe.source == "torchvision":
        return PUBLISHED["imagenet"]
    own = study.source_recipe(recipe.source, recipe.model)
    if own is not None:
        if own.statistics == "published" and own.dataset in PUBLISHED:
            return PUBLISHED[own.dataset]
        return _statistics(own.dataset, _manifest(own.dataset, study.dataset(own.dataset), home))[0]
    if recipe.source == "random" or home is None:
        return None
    from tracker.vision.sources import checkpoint_source, find_source  # imports torch

    try:
        return checkpoint_source(recipe.source, find_source(home, recipe.source, recipe.model)).statistics
    except TrackerError:
        return None


def _statistics(name: str, manifest: Manifest | None) -> tuple[Statistics | None, Origin | None]:
    if manifest is not None:
        return manifest.statistics, "exact"
    if name in PUBLISHED:
        return PUBLISHED[name], "published"
    return None, None


def _manifest(name: str, spec: DatasetSpec, home: Home | None) -> Manifest | None:
    if home is None:
        return None
    try:
        return read_manifest(packed_folder(name, spec, home))
    except TrackerError:
        return None


def _count(tags: Sequence[Mapping[str, str]], tag: str) -> int | None:
    values = {each[tag] for each in tags if each.get(tag, "").isdecimal()}
    return max(map(int, values)) if values else None
