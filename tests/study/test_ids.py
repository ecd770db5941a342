"""Rules of a cell's id: equal content, equal id; any other content, another id."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.study.any_study import TWO_VALUES, make_study, only, studies
from tracker.study.load import EXPERIMENTS, load_study, parse_study
from tracker.study.recipe import RECIPE_KEYS
from tracker.study.study import Cell, Study, content_id


@pytest.mark.parametrize("key", RECIPE_KEYS)
def test_an_id_does_not_tell_recipe_from_axis(key: str) -> None:
    """A value gives the same cell in the recipe as on an axis: making it an axis later keeps its results."""
    for value in TWO_VALUES[key]:
        on_axis = only(make_study({}, {key: [value]}))
        other = "seed" if key != "seed" else "epochs"
        default = on_axis.recipe.model_dump()[other]
        assert only(make_study({key: value}, {other: [default]})).id == on_axis.id


@pytest.mark.parametrize("seed", [1, 2])
def test_weights_count_only_where_they_are_used(seed: int) -> None:
    """Which torchvision weights a random start would not have used is no part of its identity."""
    first, second = make_study(
        {"source": "random", "seed": seed}, {"weights": ["IMAGENET1K_V1", "IMAGENET1K_V2"]}
    ).cells
    assert first.id == second.id


def test_where_a_folder_lies_is_not_identity() -> None:
    """Moving a folder keeps its cells; what is read from it does not."""

    def cell_of(**keys: Any) -> Cell:
        datasets = {"own": {"kind": "folder", "path": "/data", **keys}}
        return only(make_study({"dataset": "own"}, {"seed": [1]}, datasets=datasets, sources={}))

    assert cell_of().id == cell_of(path="/elsewhere").id
    for change in ({"image_size": 64}, {"classes": ["a", "b"]}, {"channels": 1}, {"test_fraction": 0.5}):
        assert cell_of(**change).id != cell_of().id


def test_a_source_is_part_of_its_cells() -> None:
    """A cell carries what its source is pre-trained with; changing that changes the cell and the source alike."""

    def cell_of(**keys: Any) -> Cell:
        return only(make_study({"source": "mine"}, {"seed": [5]}, sources={"mine": {"dataset": "few", **keys}}))

    cell = cell_of()
    assert cell.source is not None and cell.source_dataset is not None
    assert (cell.source.source, cell.source.normalization, cell.source.seed) == ("random", "finetune", 0)
    assert (cell.source.model, cell.source.dataset) == (cell.recipe.model, "few")
    assert cell.source_dataset.classes == (1, 2)
    longer = cell_of(epochs=7)
    assert (longer.id, longer.source_id) != (cell.id, cell.source_id)
    assert longer.id != cell.id
    spelled_out = cell_of(epochs=100)
    assert (spelled_out.id, spelled_out.source_id) == (cell.id, cell.source_id)


def test_cells_of_one_source_share_it() -> None:
    """Seed, normalization and all else of a cell leave its source alone; another model has another."""
    study = make_study(
        {"source": "mine"},
        {"model": ["resnet18", "resnet50"], "normalization": ["pretrain", "minmax"], "seed": [1, 2], "epochs": [3, 4]},
    )
    assert len(study.cells) == 16
    assert len({cell.source_id for cell in study.cells}) == 2


def test_content_ids_are_canonical() -> None:
    """Key order does not matter, every value does, and the hash is the same on every machine."""
    assert content_id({"b": [1, 2.5, None, True], "a": "é"}) == "0b8cc543e984"
    assert content_id({"a": "é", "b": [1, 2.5, None, True]}) == "0b8cc543e984"
    assert content_id({"a": "é", "b": [1.0, 2.5, None, True]}) != "0b8cc543e984"
    with pytest.raises(ValueError, match="JSON"):
        content_id({"lr": float("nan")})


@settings(max_examples=60, deadline=None)
@given(studies(), st.randoms(use_true_random=False))
def test_ids_do_not_depend_on_the_order_of_axes(study: Study, random: Any) -> None:
    """Axes and their values in any order make the same cells; names, and so the keys of further seeds, follow them."""
    study = study.with_fields(more_seeds={})
    document = json.loads(json.dumps(study.document()))
    axes = [(key, random.sample(values, len(values))) for key, values in document["axes"].items()]
    random.shuffle(axes)
    shuffled = parse_study({**document, "axes": dict(axes)}, file="shuffled")
    assert {cell.id for cell in shuffled.cells} == {cell.id for cell in study.cells}


@settings(max_examples=60, deadline=None)
@given(studies(), st.sampled_from(RECIPE_KEYS))
def test_changing_any_key_changes_every_id(study: Study, key: str) -> None:
    """A changed recipe never mixes with old results: no cell keeps its id."""
    document = json.loads(json.dumps(study.with_fields(more_seeds={}).document()))
    cell = study.cells[-1]
    value = next(value for value in TWO_VALUES[key] if value != getattr(cell.recipe, key))
    if key == "weights" and cell.recipe.source != "torchvision":
        return  # `test_weights_count_only_where_they_are_used`
    changed = {**document.get("recipe", {}), **cell.point, key: value}
    axis = "seed" if key != "seed" else "epochs"
    point = {axis: [changed.pop(axis, getattr(cell.recipe, axis))]}
    one = parse_study(
        {**document, "recipe": changed, "axes": point, "baseline": changed["normalization"]}, file="changed"
    )
    assert only(one).id != cell.id


@pytest.mark.parametrize(
    ("name", "first", "last", "source"),
    [
        ("norm-test", "146eacdb8707", "62d3145cec0b", None),
        ("quickstart", "08c218486164", "278599461ed5", "d7c1b525c199"),
        ("cifar10-folder", "32f065ca6fa5", "92ddf0444bd5", "8f055057371b"),
    ],
)
def test_the_ids_of_the_shipped_studies_stay(name: str, first: str, last: str, source: str | None) -> None:
    """Results of an earlier version are found again. If only this fails, a default or the identity changed: undo it."""
    assert EXPERIMENTS.is_dir(), "run from the repository's root"
    cells = load_study(name).cells
    assert (cells[0].id, cells[-1].id, cells[0].source_id) == (first, last, source)
