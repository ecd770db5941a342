"""A study and its grid: axes, recipe and the cells they make."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from pydantic import Field

from tracker.study.recipe import (
    SOURCE_WORDS,
    DatasetSpec,
    Frozen,
    Name,
    Recipe,
    Scalar,
    dataset_names,
    non_default,
)

REPLICATE_AXIS = "seed"
"""Cells that differ in this axis alone are replicates of one configuration."""


@dataclass(frozen=True)
class Cell:
    """One point of the grid: a complete recipe, and what it refers to.

    Args:
        recipe: every key, the axes' values put in.
        point: the axes' values alone, in the study's order.
        dataset: how its dataset is stored.
        source: the recipe its source is pre-trained with, None for a source that is not of this study.
        source_dataset: how that source's dataset is stored.
    """

    recipe: Recipe
    point: Mapping[str, Scalar]
    dataset: DatasetSpec
    source: Recipe | None
    source_dataset: DatasetSpec | None

    @cached_property
    def id(self) -> str:
        """12 hex digits of the SHA-256 of the content: equal content, equal id, on every machine."""
        return content_id(self.identity())

    def identity(self) -> dict[str, Any]:
        """Return all that decides the result: recipe, dataset and source, without defaults and paths."""
        recipe = non_default(self.recipe)
        if self.recipe.source != "torchvision":
            recipe.pop("weights", None)
        identity = {"recipe": recipe, "dataset": self.dataset.identity()}
        if self.source is not None:
            identity["source"] = self._source_identity()
        return identity

    def _source_identity(self) -> dict[str, Any]:
        assert self.source is not None and self.source_dataset is not None
        return {"recipe": non_default(self.source), "dataset": self.source_dataset.identity()}

    @property
    def source_id(self) -> str | None:
        """The id of the source this cell pre-trains first; None where it needs none of this study."""
        return None if self.source is None else content_id(self._source_identity())

    @property
    def configuration(self) -> tuple[tuple[str, Scalar], ...]:
        """The point without its seed: equal for replicates, usable as a key."""
        return tuple((axis, value) for axis, value in self.point.items() if axis != REPLICATE_AXIS)

    @property
    def configuration_name(self) -> str:
        """The configuration in a word, equal for replicates: `resnet18/cifar10/pretrain`."""
        recipe = self.recipe
        others = [axis for axis in self.point if axis not in ("model", "dataset", "normalization", REPLICATE_AXIS)]
        parts = [recipe.model, recipe.dataset]
        parts += [value if isinstance(value := self.point[axis], str) else f"{axis}={value}" for axis in others]
        return "/".join([*parts, recipe.normalization])

    @property
    def name(self) -> str:
        """A readable name that sorts well: `resnet18/cifar10/pretrain/seed=223`."""
        return f"{self.configuration_name}/{REPLICATE_AXIS}={self.recipe.seed}"

    def replicate(self, seed: int) -> Cell:
        """Return the cell of the same configuration with another seed."""
        recipe = self.recipe.model_copy(update={REPLICATE_AXIS: seed})
        return replace(self, recipe=recipe, point={**self.point, REPLICATE_AXIS: seed})


def content_id(content: Any) -> str:
    """Return 12 hex digits of the SHA-256 of canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def first_by_configuration(cells: Iterable[Cell]) -> dict[str, Cell]:
    """Return the first cell of each configuration, by the configuration's name."""
    found: dict[str, Cell] = {}
    for cell in cells:
        found.setdefault(cell.configuration_name, cell)
    return found


class Study(Frozen):
    """One YAML file in `experiments/`, checked. Build it with `tracker.study.load`."""

    name: Name = Field(description="the study's name: its file's name, unless given")
    question: str = Field(min_length=1, description="what the study asks, one sentence, shown in the MLflow UI")
    baseline: str = Field("pretrain", description="the normalization the others are compared with")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="what it is meant to run on; --device overrides")
    recipe: dict[str, Scalar] = Field(default_factory=dict, description="what is held constant over the grid")
    axes: dict[str, tuple[Scalar, ...]] = Field(description="recipe keys that vary, each with its values")
    datasets: dict[Name, DatasetSpec] = Field(default_factory=dict, description="datasets beyond the built-in ones")
    sources: dict[Name, dict[str, Scalar]] = Field(
        default_factory=dict, description="networks to pre-train first: recipe keys, `dataset` among them"
    )
    more_seeds: dict[str, tuple[int, ...]] = Field(
        default_factory=dict,
        description="further seeds of single configurations, by name (`resnet18/digits/pretrain`): what "
        "`sweep --until-decided` adds",
    )
    looks: int = Field(
        0,
        ge=0,
        description="which look at its results the next one is, of those that decide on more seeds: the later, the "
        "stricter; 0 for a study that they never grew",
    )

    def dataset(self, name: str) -> DatasetSpec:
        """Return how dataset `name` is stored. Raises: KeyError."""
        if name in self.datasets:
            return self.datasets[name]
        if name in dataset_names():
            return DatasetSpec(kind=name)
        raise KeyError(name)

    def source_recipe(self, name: str, model: str) -> Recipe | None:
        """Return what source `name` is pre-trained with for `model`; None where it is not of this study.

        A source is trained like any cell: from random weights, its images z-scored with its own
        dataset's statistics, which become the source's u0 and std0.
        """
        if name in SOURCE_WORDS or name not in self.sources:
            return None
        keys = {"source": "random", "normalization": "finetune", "seed": 0, "model": model}
        return Recipe(**{**keys, **self.sources[name]})  # type: ignore[arg-type]

    @cached_property
    def grid(self) -> tuple[Cell, ...]:
        """The product of the axes, last axis fastest."""
        cells = []
        for values in itertools.product(*self.axes.values()):
            point = dict(zip(self.axes, values, strict=True))
            recipe = Recipe(**{**self.recipe, **point})  # type: ignore[arg-type]
            source = self.source_recipe(recipe.source, recipe.model)
            cells.append(
                Cell(
                    recipe=recipe,
                    point=point,
                    dataset=self.dataset(recipe.dataset),
                    source=source,
                    source_dataset=self.dataset(source.dataset) if source else None,
                )
            )
        return tuple(cells)

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The grid, then the further seeds, configuration by configuration in the grid's order."""
        if not self.more_seeds:
            return self.grid
        grid = self.grid
        if REPLICATE_AXIS not in self.axes:  # from now on there is one, in effect: every point says its seed
            grid = tuple(cell.replicate(cell.recipe.seed) for cell in grid)
        further = [
            cell.replicate(seed)
            for name, cell in first_by_configuration(grid).items()
            for seed in self.more_seeds.get(name, ())
        ]
        return (*grid, *further)

    def with_fields(self, **fields: Any) -> Study:
        """Return the study with other values of some fields."""
        # Not `model_copy`, which would copy the cells made already.
        kept = {name: getattr(self, name) for name in Study.model_fields}
        return Study(**{**kept, **fields})

    def document(self) -> dict[str, Any]:
        """Return the study as plain JSON values; `Study(**...)` by way of `parse_study` reads it back."""
        return self.model_dump(mode="json", exclude_defaults=True)
