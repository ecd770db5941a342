"""What of the recipe differs between two definitions of one study, in the words of its file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from typing import Any

from pydantic import BaseModel

from tracker.study.recipe import RECIPE_KEYS, Recipe, Scalar
from tracker.study.study import REPLICATE_AXIS, Cell, Study, first_by_configuration

CONTENT_KEYS = ("model", "dataset", "source")
"""Axes that choose what else goes into a cell's identity; any other axis adds its own value and nothing more."""

SOME_SEED = 0
"""Any one would do: two configurations are the same if their cells of it are."""

Line = tuple[tuple[int, str, int], str]
"""A difference, after what puts it in order: section, name in it, number of the key."""


def changed(old: Study, new: Study) -> list[str]:
    """Say why cells that both studies have, by their axes, are not the same cells.

    Two cells are counterparts if their recipes agree in every key that is an axis of either study.
    So growing, shrinking or reordering an axis is no change, and neither is making one of a key
    that keeps its old value among the new ones.

    Returns:
        A line for each difference between counterparts, `recipe.epochs: 4 -> 8`, in the order of
        the recipe's keys, then datasets and sources by name; empty where all counterparts have
        equal ids.
    """
    shared = _shared_axes(old, new)
    found: dict[tuple[int, str, int], str] = {}
    for before, after in zip(_narrowed(old, shared).cells, _narrowed(new, shared).cells, strict=True):
        if before.id != after.id:
            found.update(_differences(old, before, new, after))
    return [found[order] for order in sorted(found)]


def carried_on(old: Study, new: Study) -> Study:
    """Give a study's new definition the further seeds and the looks of the old one, which its file knows nothing of.

    A configuration keeps its further seeds if it is still there with the same content, under
    whatever name. Where cells come in that the old definition did not have, what is seen next is
    another look.
    """
    before = {cell.id for cell in old.cells}
    if before.isdisjoint(cell.id for cell in new.cells):
        return new
    seeds_of = {
        _content_but_seed(cell): old.more_seeds[name]
        for name, cell in first_by_configuration(old.grid).items()
        if name in old.more_seeds
    }
    more_seeds = {}
    for name, cell in first_by_configuration(new.grid).items():
        own = new.more_seeds.get(name, ())
        there = {*new.axes.get(REPLICATE_AXIS, (cell.recipe.seed,)), *own}
        kept = [seed for seed in seeds_of.get(_content_but_seed(cell), ()) if seed not in there]
        if own or kept:
            more_seeds[name] = (*own, *kept)
    grown = new.with_fields(more_seeds=more_seeds)
    looks = old.looks
    if looks and not before.issuperset(cell.id for cell in grown.cells):
        looks += 1
    return grown.with_fields(looks=max(looks, new.looks))


def _content_but_seed(cell: Cell) -> str:
    """Return a hash that replicates share with each other, and with no other cell of any definition."""
    return cell.replicate(SOME_SEED).id


def _shared_axes(old: Study, new: Study) -> dict[str, tuple[Scalar, ...]]:
    """Return the values that both studies have on each axis of either, few enough to make every kind of difference.

    One value stands for all of an axis that is not of CONTENT_KEYS: whatever differs between the
    counterparts at one of its values differs at all of them.
    """
    shared = {}
    for key in RECIPE_KEYS:
        if _varies(old, key) or _varies(new, key):
            values = set(_values(new, key))
            both = tuple(value for value in _values(old, key) if value in values)
            shared[key] = both if key in CONTENT_KEYS else both[:1]
    return shared


def _varies(study: Study, key: str) -> bool:
    """Say whether a recipe key is an axis of the study, in effect."""
    return key in study.axes or (key == REPLICATE_AXIS and bool(study.more_seeds))


def _values(study: Study, key: str) -> tuple[Scalar, ...]:
    """Return the values a recipe key takes in a study: its axis, or the one it is held at, and further seeds."""
    default = Recipe.model_fields[key].default
    values = study.axes[key] if key in study.axes else (study.recipe.get(key, default),)
    return (*values, *chain(*study.more_seeds.values())) if key == REPLICATE_AXIS else values


def _narrowed(study: Study, axes: Mapping[str, tuple[Scalar, ...]]) -> Study:
    """Return the study with these axes in place of its own."""
    recipe = {key: value for key, value in study.recipe.items() if key not in axes}
    return study.with_fields(recipe=recipe, axes=dict(axes), more_seeds={})


def _differences(old: Study, before: Cell, new: Study, after: Cell) -> Iterator[Line]:
    """Yield a line for each difference of two counterparts."""
    skip = set() if before.recipe.source == after.recipe.source == "torchvision" else {"weights"}
    given = (old.recipe, new.recipe)
    yield from _lines((0, ""), "recipe", before.recipe, after.recipe, given, skip)
    yield from _dataset_lines(before.recipe, before.dataset, after.recipe, after.dataset)
    if before.recipe.source != after.recipe.source:
        return
    name = before.recipe.source
    if before.source is not None and after.source is not None:
        # A source has its cell's model, so a difference in it is the recipe's.
        given = (old.sources[name], new.sources[name])
        yield from _lines((2, name), f"sources.{name}", before.source, after.source, given, {"model"})
        yield from _dataset_lines(before.source, before.source_dataset, after.source, after.source_dataset)
    elif (before.source is None) != (after.source is None):
        sections = (_text(old.sources.get(name)), _text(new.sources.get(name)))
        yield (2, name, 0), f"sources.{name}: {sections[0]} -> {sections[1]}"


def _dataset_lines(before: Recipe, old: BaseModel | None, after: Recipe, new: BaseModel | None) -> Iterator[Line]:
    """Compare what the study says of a dataset, which has to be the same dataset to have changed."""
    if before.dataset == after.dataset and old is not None and new is not None:
        given = (old.model_fields_set, new.model_fields_set)
        yield from _lines((1, before.dataset), f"datasets.{before.dataset}", old, new, given, {"path"})


def _lines(
    section: tuple[int, str],
    where: str,
    old: BaseModel,
    new: BaseModel,
    given: tuple[Collection[str], Collection[str]],
    skip: Collection[str],
) -> Iterator[Line]:
    """Yield a line for each key whose values differ; those of keys that were not given are called defaults."""
    for number, key in enumerate(type(old).model_fields):
        values = getattr(old, key), getattr(new, key)
        if key not in skip and values[0] != values[1]:
            texts = [
                _text(value) + (" (default)" if value is not None and key not in keys else "")
                for value, keys in zip(values, given, strict=True)
            ]
            yield (*section, number), f"{where}.{key}: {texts[0]} -> {texts[1]}"


def _text(value: Any) -> str:
    """Write a value as a study file has it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_text(inner)}' for key, inner in value.items())}}}"
    return str(value)
