"""What the shell offers as values of options: fast, from names alone, and never with an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from tracker.study.home import Home

Offer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
OPEN = ("=", ",", ".", ":")
"""A value that ends so is to be typed on: no space after it."""
WEIGHTS = ("IMAGENET1K_V1", "IMAGENET1K_V2")


def _offering(names: Callable[[click.Context, str], Iterable[str | tuple[str, str]]]) -> Offer:
    """Return a completion of those names that begin with what was typed; none where anything goes wrong.

    Args:
        names: each alone, or with what is said of it.
    """

    @wraps(names)
    def offer(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
        try:
            pairs = [(name, None) if isinstance(name, str) else name for name in names(context, typed)]
        except Exception:  # a traceback would land in the middle of a command line
            return []
        return [CompletionItem(name, help=said) for name, said in pairs if name.startswith(typed)]

    return offer


@_offering
def study_files(context: click.Context, typed: str) -> Iterable[str]:
    """Studies in experiments/, and those of the trial database that have no file there."""
    from tracker.study.load import EXPERIMENTS

    return sorted({path.stem for path in EXPERIMENTS.glob("*.yaml")} | set(_swept(context)))


@_offering
def swept_studies(context: click.Context, typed: str) -> Iterable[str]:
    """Studies of the local trial database."""
    return _swept(context)


@_offering
def cells(context: click.Context, typed: str) -> Iterable[tuple[str, str]]:
    """Cells of the study that --study names, by name; by id where one was begun."""
    found = _cells_of(context)
    return [(name, state) for _, name, state in found] + [(cell, name) for cell, name, _ in found if typed]


@_offering
def finished_cells(context: click.Context, typed: str) -> Iterable[str | tuple[str, str]]:
    """`best`, and the complete cells of the study that --study names."""
    found = [(cell, name) for cell, name, state in _cells_of(context) if state == "COMPLETE"]
    return [("best", "the highest mean over seeds"), *(name for _, name in found), *(pair for pair in found if typed)]


@_offering
def normalizations(context: click.Context, typed: str) -> Iterable[str]:
    """Normalizations, those of installed packages too."""
    return _values(context, "normalization")


@_offering
def datasets(context: click.Context, typed: str) -> Iterable[str]:
    """Built-in datasets, and those of the study that --study names."""
    return _values(context, "dataset")


@_offering
def models(context: click.Context, typed: str) -> Iterable[str]:
    """Classifiers of torchvision and of installed packages."""
    return _values(context, "model")


@_offering
def sources(context: click.Context, typed: str) -> Iterable[str]:
    """Models with ImageNet weights, and sources that were pre-trained here."""
    return [*_made(context), *_values(context, "model")]


@_offering
def weights(context: click.Context, typed: str) -> Iterable[str]:
    """`MODEL:` and then its weights."""
    model, colon, _ = typed.partition(":")
    return [f"{model}:{name}" for name in WEIGHTS] if colon else [f"{name}:" for name in _values(context, "model")]


@_offering
def devices(context: click.Context, typed: str) -> Iterable[str]:
    """auto, cpu, cuda, and each card that the system knows."""
    from pathlib import Path

    cards = sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
    return ["auto", "cpu", "cuda", *(f"cuda:{number}" for number in cards)]


@_offering
def accelerations(context: click.Context, typed: str) -> Iterable[str]:
    """auto, plain, and each acceleration after those that are typed already."""
    from tracker.study.accelerations import ACCELERATIONS

    before, comma, _ = typed.rpartition(",")
    used = before.split(",")
    return ["auto", "plain"] * (not comma) + [f"{before}{comma}{name}" for name in ACCELERATIONS if name not in used]


@_offering
def worker_counts(context: click.Context, typed: str) -> Iterable[str]:
    """auto."""
    return ["auto"]


@_offering
def settings(context: click.Context, typed: str) -> Iterable[str]:
    """`recipe.KEY=` and the study's other keys, then the values that a key takes."""
    from tracker.study.recipe import RECIPE_KEYS, DatasetSpec

    key, equals, _ = typed.partition("=")
    if equals:
        return [f"{key}={value}" for value in _values(context, key.rpartition(".")[2])]
    sections = {"datasets": list(DatasetSpec.model_fields), "sources": list(RECIPE_KEYS)}
    named = [
        f"{section}.{name}.{inner}="
        for section, inners in sections.items()
        for name in ("*", *_document(context).get(section, {}))
        for inner in inners
        if typed.startswith(section)
    ]
    plain = ["name=", "question=", "baseline=", "device=", *(f"recipe.{inner}=" for inner in RECIPE_KEYS)]
    short = [f"{inner}=" for inner in RECIPE_KEYS if typed and inner.startswith(typed)]
    return [*plain, *short, *(named or [f"{section}." for section in sections])]


@_offering
def axes(context: click.Context, typed: str) -> Iterable[str]:
    """`KEY=`, then values one after another."""
    from tracker.study.recipe import RECIPE_KEYS

    key, equals, given = typed.partition("=")
    if not equals:
        return [f"{name}=" for name in RECIPE_KEYS]
    before = given.rpartition(",")[0]
    taken = before.split(",") if before else []
    start = f"{key}={before}," if taken else f"{key}="
    return [f"{start}{value}" for value in _values(context, key) if value not in taken]


@_offering
def conditions(context: click.Context, typed: str) -> Iterable[str]:
    """`KEY=`, then one value."""
    from tracker.study.recipe import RECIPE_KEYS

    key, equals, _ = typed.partition("=")
    return [f"{key}={value}" for value in _values(context, key)] if equals else [f"{name}=" for name in RECIPE_KEYS]


def files(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Let the shell complete files and folders."""
    return [CompletionItem(typed, type="file")]


def _values(context: click.Context, key: str) -> list[str]:
    """Return the values of a recipe key that can be listed; none of a number or a text."""
    from typing import Literal, get_args, get_origin

    from tracker.study.extensions import installed
    from tracker.study.recipe import DATASET_KINDS, SOURCE_WORDS, Recipe, normalization_names

    if key in ("normalization", "baseline"):
        return normalization_names()
    if key == "model":
        return sorted({*_torchvision_models(), *installed("tracker.models")})
    if key == "dataset":
        ready = [kind for kind in DATASET_KINDS if kind != "folder"]
        return [*_document(context).get("datasets", {}), *ready, *installed("tracker.datasets")]
    if key == "source":
        return [*SOURCE_WORDS, *_document(context).get("sources", {}), *_made(context)]
    if key == "weights":
        return list(WEIGHTS)
    if key not in Recipe.model_fields:
        return []
    kind: Any = Recipe.model_fields[key].annotation
    if kind is bool:
        return ["true", "false"]
    return [str(value) for value in get_args(kind)] if get_origin(kind) is Literal else []


def _torchvision_models() -> set[str]:
    """Return torchvision's classifiers, read from its files: importing it takes seconds."""
    import re
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return set()
    registered = re.compile(r"^@register_model\(\)(?:\n@.*)*\ndef (\w+)", flags=re.MULTILINE)
    paths = (Path(spec.origin).parent / "models").glob("*.py")
    return {name for path in paths for name in registered.findall(path.read_text(encoding="utf-8"))}


def _home(context: click.Context) -> Home:
    from tracker.study.home import Home

    return Home.find(context.params.get("home"))


def _made(context: click.Context) -> list[str]:
    """Return the sources that `tracker pretrain` made in this home."""
    return sorted({path.name for path in _home(context).sources.glob("*") if path.is_dir()})


def _swept(context: click.Context) -> list[str]:
    """Return the studies of the local trial database; none of another, which may take its time to answer."""
    from tracker.ledger.peek import peek_studies

    return [] if context.params.get("storage") else peek_studies(_home(context).trials_db)


def _cells_of(context: click.Context) -> list[tuple[str, str, str]]:
    from tracker.ledger.peek import peek_cells

    study = context.params.get("study_name")
    return [] if context.params.get("storage") or not study else peek_cells(_home(context).trials_db, study)


def _document(context: click.Context) -> dict[str, Any]:
    """Return the file of the study that --study names, as it stands; nothing where there is none."""
    from tracker.study.load import find_study_file
    from tracker.study.yamlfile import read_yaml

    study = context.params.get("study_name")
    found = read_yaml(find_study_file(study)) if study else {}
    return found if isinstance(found, dict) else {}
