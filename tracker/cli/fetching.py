"""Which datasets and weights a command is asked for, and the weights fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tracker.study.home import Home
    from tracker.study.recipe import DatasetSpec
    from tracker.vision.progress import Progress


def known_datasets(study_name: str | None, settings: tuple[str, ...]) -> dict[str, DatasetSpec]:
    """Return the datasets of a study; without one, the built-in ones and those of installed packages."""
    from tracker.study.errors import UsageError
    from tracker.study.load import load_study
    from tracker.vision.datasets import datasets_of, ready_made

    if study_name is not None:
        return datasets_of(load_study(study_name, settings).cells)
    if settings:
        raise UsageError("--set changes a study, and none is named", "add --study NAME")
    return ready_made()


def chosen_datasets(names: tuple[str, ...], known: dict[str, DatasetSpec]) -> dict[str, DatasetSpec]:
    """Return those that were named.

    Raises:
        UsageError: there is none of a name.
    """
    from tracker.study.errors import UsageError
    from tracker.vision.datasets import ready_made

    known = ready_made() | known
    for name in names:
        if name not in known:
            raise UsageError(
                f"{name!r} is not a dataset", f"accepted: {', '.join(known)}; with --study NAME, those of the study too"
            )
    return {name: known[name] for name in names}


def weights_of_study(study_name: str, settings: tuple[str, ...]) -> tuple[str, ...]:
    """Return torchvision's weights that a study starts from, as MODEL:WEIGHTS."""
    from tracker.study.load import load_study

    recipes = [cell.recipe for cell in load_study(study_name, settings).cells]
    needed = {f"{recipe.model}:{recipe.weights}" for recipe in recipes if recipe.source == "torchvision"}
    return tuple(sorted(needed))


def fetch_weights(model_and_weights: str, home: Home, mirror: str | None, progress: Progress) -> None:
    """Download torchvision's weights unless they are there; print where they lie.

    Raises:
        UsageError: not MODEL:WEIGHTS, or no such weights.
        DataMissing: they cannot be downloaded.
    """
    from tracker.study.errors import UsageError
    from tracker.vision.fetch import Download, download
    from tracker.vision.sources import weights_file

    model, colon, weights = model_and_weights.partition(":")
    if not colon:
        raise UsageError(f"--weights {model_and_weights!r} is not MODEL:WEIGHTS", "as in resnet18:IMAGENET1K_V1")
    file = weights_file(model, weights, home=home)
    digest = file.path.stem.rpartition("-")[2]  # torchvision's names end with the first digits of the SHA-256
    wanted = Download(file.url, file.path.name, "sha256", digest)
    path = file.path
    if not wanted.matches(path):  # torch hub's cache may have it
        path = download(wanted.at(mirror) if mirror else wanted, home.weights, progress=progress)
    click.echo(f"{file.label}: {path}", err=True)
