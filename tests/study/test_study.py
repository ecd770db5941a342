"""Rules of the grid: cells, their names and configurations, and the study as a document."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from tests.study.any_study import TWO_VALUES, make_study, only, studies
from tracker.study.load import parse_study
from tracker.study.recipe import RECIPE_KEYS
from tracker.study.study import Study


def test_the_grid_is_the_product_last_axis_fastest() -> None:
    """Cells come in the order of the axes, each with the complete recipe."""
    study = make_study({"epochs": 3}, {"normalization": ["pretrain", "minmax"], "seed": [7, 8, 9]})
    assert [tuple(cell.point.values()) for cell in study.cells] == [
        ("pretrain", 7), ("pretrain", 8), ("pretrain", 9), ("minmax", 7), ("minmax", 8), ("minmax", 9),
    ]  # fmt: skip
    assert {cell.recipe.epochs for cell in study.cells} == {3}
    assert {cell.recipe.batch_size for cell in study.cells} == {256}
    assert [(cell.recipe.normalization, cell.recipe.seed) for cell in study.cells][-1] == ("minmax", 9)


def test_a_configuration_is_a_point_without_its_seed() -> None:
    """Replicates share their configuration, and nothing else does."""
    study = make_study({}, {"seed": [1, 2], "normalization": ["pretrain", "minmax"], "tune": ["full", "head"]})
    configurations = [cell.configuration for cell in study.cells]
    assert len(configurations) == 8
    assert len(set(configurations)) == 4
    assert configurations[0] == (("normalization", "pretrain"), ("tune", "full"))


def test_names_are_readable_and_tell_cells_apart() -> None:
    """A name holds model, dataset, the other axes, normalization and seed, whatever the order of the axes."""
    study = make_study(
        {}, {"seed": [1, 2], "epochs": [1, 3], "tune": ["full", "head"], "normalization": ["pretrain", "minmax"]}
    )
    names = [cell.name for cell in study.cells]
    assert names[0] == "resnet18/digits/epochs=1/full/pretrain/seed=1"
    assert len(set(names)) == len(names) == 16
    assert only(make_study({}, {"flip": [False]})).name == "resnet18/digits/flip=False/pretrain/seed=223"


def test_a_precision_axis_leaves_fp32_what_it_was() -> None:
    """Results from before there was the key are those of `fp32`; `bf16` makes cells of its own, named by it."""
    before = make_study({}, {"normalization": ["pretrain", "minmax"]})
    study = make_study({}, {"precision": ["fp32", "bf16"], "normalization": ["pretrain", "minmax"]})
    assert [cell.id for cell in study.cells[:2]] == [cell.id for cell in before.cells]
    assert len({cell.id for cell in study.cells}) == 4
    assert study.cells[3].name == "resnet18/digits/bf16/minmax/seed=223"


def test_further_seeds_follow_the_grid() -> None:
    """Cells of the grid come first and stay what they are; then the further ones, by configuration, then as written."""
    axes = {"tune": ["full", "head"], "normalization": ["pretrain", "minmax"], "seed": [1, 2]}
    more_seeds = {"resnet18/digits/head/minmax": [9, 4], "resnet18/digits/full/pretrain": [3]}
    plain, grown = make_study({}, axes), make_study({}, axes, more_seeds=more_seeds)
    assert grown.cells[:8] == grown.grid == plain.cells
    further = [
        "resnet18/digits/full/pretrain/seed=3", "resnet18/digits/head/minmax/seed=9",
        "resnet18/digits/head/minmax/seed=4",
    ]  # fmt: skip
    assert [cell.name for cell in grown.cells[8:]] == further
    assert [tuple(cell.point) for cell in grown.cells] == [tuple(axes)] * 11
    longer = {cell.name: cell.id for cell in make_study({}, {**axes, "seed": [1, 2, 3, 4, 9]}).cells}
    assert [cell.id for cell in grown.cells[8:]] == [longer[name] for name in further]


def test_further_seeds_make_an_axis_where_there_is_none() -> None:
    """A study whose recipe holds the seed grows as well: every point says its seed then, and ids stay."""
    axes = {"normalization": ["pretrain", "minmax"]}
    plain = make_study({"seed": 5}, axes)
    grown = make_study({"seed": 5}, axes, more_seeds={"resnet18/digits/minmax": [6]})
    assert [cell.id for cell in grown.cells[:2]] == [cell.id for cell in plain.cells]
    assert [cell.point["seed"] for cell in grown.cells] == [5, 5, 6]
    assert all("seed" not in cell.point for cell in plain.cells)
    assert len({cell.configuration for cell in grown.cells}) == 2


@settings(max_examples=60, deadline=None)
@given(studies())
def test_names_of_configurations_are_keys(study: Study) -> None:
    """Two cells have one name of a configuration exactly if they are replicates."""
    by_name = {cell.configuration_name: cell.configuration for cell in study.cells}
    assert len(by_name) == len({cell.configuration for cell in study.cells})
    assert all(by_name[cell.configuration_name] == cell.configuration for cell in study.cells)


@pytest.mark.parametrize("key", RECIPE_KEYS)
def test_any_recipe_key_can_be_an_axis(key: str) -> None:
    """Each key takes two values as an axis, in two cells of different ids, names and recipes."""
    assert set(TWO_VALUES) == set(RECIPE_KEYS)
    first, second = make_study({}, {key: list(TWO_VALUES[key])}).cells
    assert (getattr(first.recipe, key), getattr(second.recipe, key)) == TWO_VALUES[key]
    assert first.id != second.id
    assert first.name != second.name


@pytest.mark.parametrize("source", ["torchvision", "random", "made-by-pretrain"])
def test_sources_of_elsewhere_have_no_recipe_here(source: str) -> None:
    """torchvision's weights, random ones and a source made before are not this study's to train."""
    cell = only(make_study({"source": source}, {"seed": [1]}))
    assert (cell.source, cell.source_dataset, cell.source_id) == (None, None, None)


def test_an_unknown_dataset_is_a_key_error() -> None:
    """A built-in name needs no entry; a folder without one is unknown."""
    study = make_study({}, {"seed": [1]})
    assert study.dataset("cifar10").kind == "cifar10"
    assert study.dataset("own").path == "/data/own"
    for name in ("folder", "nosuch"):
        with pytest.raises(KeyError):
            study.dataset(name)


@settings(max_examples=60, deadline=None)
@given(studies())
def test_a_document_reads_back_as_the_same_study(study: Study) -> None:
    """Through JSON, as the study's run keeps it: equal study, equal points, equal ids."""
    again = parse_study(json.loads(json.dumps(study.document())), file="again")
    assert again == study
    assert [(cell.id, dict(cell.point), cell.source_id) for cell in again.cells] == [
        (cell.id, dict(cell.point), cell.source_id) for cell in study.cells
    ]
