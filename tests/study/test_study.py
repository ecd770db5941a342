"""Rules of the grid: cells, their ids, names and configurations, and the study as a document."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.study.load import EXPERIMENTS, load_study, parse_study
from tracker.study.recipe import RECIPE_KEYS
from tracker.study.study import Cell, Study, content_id, first_by_configuration

OWN = {"own": {"kind": "folder", "path": "/data/own", "image_size": 32}, "few": {"kind": "digits", "classes": [1, 2]}}
MINE = {"mine": {"dataset": "few", "epochs": 2, "lr": 1}}

TWO_VALUES: dict[str, tuple[Any, Any]] = {
    "model": ("resnet18", "densenet121"),
    "dataset": ("digits", "own"),
    "normalization": ("pretrain", "minmax"),
    "seed": (1, 2**63 - 1),
    "source": ("torchvision", "mine"),
    "weights": ("IMAGENET1K_V1", "IMAGENET1K_V2"),
    "tune": ("full", "head"),
    "shift": ("as-is", "gain=0.5+offset=0.25"),
    "statistics": ("exact", "published"),
    "epochs": (1, 100),
    "batch_size": (1, 256),
    "optimizer": ("adam", "sgd"),
    "lr": (1, 0.001),
    "weight_decay": (0.0, 1e-4),
    "schedule": ("cosine", "constant"),
    "precision": ("fp32", "bf16"),
    "crop_padding": (0, 4),
    "flip": (True, False),
    "val_fraction": (0, 0.1),
    "limit_train": (None, 100),
    "limit_test": (None, 100),
}


def make_study(recipe: dict[str, Any], axes: dict[str, Any], **others: Any) -> Study:
    """Build a study; what is required and left out is added, and the first normalization is the baseline."""
    needed = {"model": "resnet18", "dataset": "digits", "normalization": "pretrain"}
    given = {key: value for key, value in needed.items() if key not in axes}
    recipe = {**given, **recipe}
    baseline = axes["normalization"][0] if "normalization" in axes else recipe["normalization"]
    document = {"name": "made", "question": "Which?", "baseline": baseline, "recipe": recipe, "axes": axes}
    return parse_study({**document, "datasets": OWN, "sources": MINE, **others}, file="made.yaml")


def only(study: Study) -> Cell:
    """Return the cell of a study that has one."""
    (cell,) = study.cells
    return cell


@st.composite
def studies(draw: st.DrawFn) -> Study:
    """Any study: some keys in the recipe, one to four as axes of one or two values, the others left out.

    Some have further seeds in a configuration or two, and were looked at.
    """
    axes = draw(st.lists(st.sampled_from(RECIPE_KEYS), min_size=1, max_size=4, unique=True))
    recipe = draw(st.lists(st.sampled_from([key for key in RECIPE_KEYS if key not in axes]), unique=True))
    chosen = {
        key: draw(st.lists(st.sampled_from(TWO_VALUES[key]), min_size=1, max_size=2, unique=True)) for key in axes
    }
    held = {key: draw(st.sampled_from(TWO_VALUES[key])) for key in recipe}
    if "seed" in chosen:
        chosen["seed"] = draw(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5, unique=True))
    if "lr" in held:
        held["lr"] = draw(st.floats(1e-12, 100))
    study = make_study(held, chosen)
    names = draw(st.lists(st.sampled_from(sorted(first_by_configuration(study.grid))), max_size=2, unique=True))
    there = {cell.recipe.seed for cell in study.grid}
    further = st.lists(st.integers(0, 2**63 - 1).filter(lambda seed: seed not in there), min_size=1, unique=True)
    return study.with_fields(
        more_seeds={name: tuple(draw(further)) for name in names}, looks=draw(st.integers(0, 3)) if names else 0
    )


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


@pytest.mark.parametrize("source", ["torchvision", "random", "made-by-pretrain"])
def test_sources_of_elsewhere_have_no_recipe_here(source: str) -> None:
    """torchvision's weights, random ones and a source made before are not this study's to train."""
    cell = only(make_study({"source": source}, {"seed": [1]}))
    assert (cell.source, cell.source_dataset, cell.source_id) == (None, None, None)


def test_cells_of_one_source_share_it() -> None:
    """Seed, normalization and all else of a cell leave its source alone; another model has another."""
    study = make_study(
        {"source": "mine"},
        {"model": ["resnet18", "resnet50"], "normalization": ["pretrain", "minmax"], "seed": [1, 2], "epochs": [3, 4]},
    )
    assert len(study.cells) == 16
    assert len({cell.source_id for cell in study.cells}) == 2


def test_an_unknown_dataset_is_a_key_error() -> None:
    """A built-in name needs no entry; a folder without one is unknown."""
    study = make_study({}, {"seed": [1]})
    assert study.dataset("cifar10").kind == "cifar10"
    assert study.dataset("own").path == "/data/own"
    for name in ("folder", "nosuch"):
        with pytest.raises(KeyError):
            study.dataset(name)


def test_content_ids_are_canonical() -> None:
    """Key order does not matter, every value does, and the hash is the same on every machine."""
    assert content_id({"b": [1, 2.5, None, True], "a": "é"}) == "0b8cc543e984"
    assert content_id({"a": "é", "b": [1, 2.5, None, True]}) == "0b8cc543e984"
    assert content_id({"a": "é", "b": [1.0, 2.5, None, True]}) != "0b8cc543e984"
    with pytest.raises(ValueError, match="JSON"):
        content_id({"lr": float("nan")})


@settings(max_examples=60, deadline=None)
@given(studies())
def test_a_document_reads_back_as_the_same_study(study: Study) -> None:
    """Through JSON, as the study's run keeps it: equal study, equal points, equal ids."""
    again = parse_study(json.loads(json.dumps(study.document())), file="again")
    assert again == study
    assert [(cell.id, dict(cell.point), cell.source_id) for cell in again.cells] == [
        (cell.id, dict(cell.point), cell.source_id) for cell in study.cells
    ]


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
