"""Rules of what counts as a change of a study: whatever gives a cell of both definitions another content."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.study.made_study import make
from tracker.study.changes import changed
from tracker.study.load import EXPERIMENTS, load_study, parse_study
from tracker.study.recipe import RECIPE_KEYS
from tracker.study.study import Study

VALUES: dict[str, tuple[Any, ...]] = {
    "model": ("resnet18", "densenet121"),
    "dataset": ("high", "own", "digits"),
    "normalization": ("pretrain", "minmax"),
    "seed": (1, 2, 3, 223),
    "source": ("torchvision", "random", "low", "other", "made-before"),
    "weights": ("IMAGENET1K_V1", "IMAGENET1K_V2"),
    "epochs": (4, 8, 100),
    "lr": (0.001, 0.01, 1),
    "flip": (True, False),
    "limit_train": (None, 512),
}
"""Few values of few keys, so that two studies often have cells in common."""


@st.composite
def studies(draw: st.DrawFn) -> Study:
    """Any study of VALUES, its datasets and sources sometimes other than usual."""
    axes = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=3, unique=True))
    held = draw(st.lists(st.sampled_from([key for key in VALUES if key not in axes]), unique=True))
    return make(
        recipe={key: draw(st.sampled_from(VALUES[key])) for key in held},
        axes={key: draw(st.lists(st.sampled_from(VALUES[key]), min_size=1, unique=True)) for key in axes},
        datasets=draw(st.sampled_from([{}, {"low": {"image_size": 8}}, {"high": {"channels": 1}}])),
        sources=draw(st.sampled_from([{}, {"low": {"epochs": 2}}, {"other": {"seed": 7, "lr": 0.1}}])),
    )


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Study, Study]:
    """Two definitions of one study: the second may share the first's axes, recipe, datasets or sources."""
    old, new = draw(studies()), draw(studies())
    kept = draw(st.sets(st.sampled_from(["grid", "datasets", "sources"])))
    document = new.document()
    for section in kept:
        for key in ("recipe", "axes", "baseline") if section == "grid" else (section,):
            document[key] = old.model_dump(mode="json")[key]
    return old, parse_study(document, file="new.yaml")


def counterparts_agree(old: Study, new: Study) -> bool:
    """Compare every cell with the one whose recipe agrees in all axes of either study."""
    axes = [key for key in RECIPE_KEYS if key in old.axes or key in new.axes]
    by_axes = {tuple(getattr(cell.recipe, key) for key in axes): cell.id for cell in old.cells}
    assert len(by_axes) == len(old.cells)
    return all(by_axes.get(tuple(getattr(cell.recipe, key) for key in axes), cell.id) == cell.id for cell in new.cells)


@settings(max_examples=150)
@given(studies())
def test_a_study_is_as_it_was(study: Study) -> None:
    """Nothing has changed between a study and itself, nor between it and what the ledger keeps of it."""
    assert changed(study, study) == []
    kept = parse_study(json.loads(json.dumps(study.document())), file="kept")
    assert changed(kept, study) == changed(study, kept) == []


@settings(max_examples=400)
@given(pairs())
@example((make({"source": "torchvision"}), make({"source": "torchvision", "weights": "IMAGENET1K_V2"})))
@example((make({"source": "random"}), make({"source": "random", "weights": "IMAGENET1K_V2"})))
def test_lines_are_there_if_and_only_if_counterparts_differ(pair: tuple[Study, Study]) -> None:
    """The list is empty exactly if no cell of both has two ids; its lines are distinct, and the same every time."""
    old, new = pair
    lines = changed(old, new)
    assert (lines == []) == counterparts_agree(old, new)
    assert len(set(lines)) == len(lines)
    assert changed(old, new) == lines
    assert (changed(new, old) == []) == (lines == [])


@settings(max_examples=100)
@given(pairs(), st.randoms(use_true_random=False))
def test_the_order_of_axes_and_values_decides_nothing(pair: tuple[Study, Study], random: Any) -> None:
    """Axes and their values in any order give the same lines in the same order."""
    old, new = pair
    document = old.document()
    axes = [(key, random.sample(values, len(values))) for key, values in document["axes"].items()]
    random.shuffle(axes)
    shuffled = parse_study({**document, "axes": dict(axes)}, file="shuffled")
    assert changed(shuffled, new) == changed(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (make(axes={"seed": [1, 2]}), make(axes={"seed": [1, 2, 3]})),
        (make(axes={"seed": [1, 2, 3]}), make(axes={"seed": [3, 1]})),
        (make(axes={"seed": [1, 2]}), make(axes={"seed": [8, 9]})),
        (make(axes={"seed": [1]}), make({"seed": 1}, axes={"epochs": [100, 8]})),
        (make({"epochs": 4}), make(axes={"epochs": [4, 8], "seed": [1, 2]})),
        (make(axes={"epochs": [4, 8], "seed": [1, 2]}), make({"epochs": 8})),
        (make(), make(axes={"lr": [0.01, 0.001], "seed": [2, 1]})),
        (make(), make(axes={"model": ["densenet121", "resnet18"], "seed": [1]})),
        (make(), make({"lr": 0.001, "epochs": 100})),
        (make(), make(question="Another?", device="cpu")),
        (make(axes={"normalization": ["pretrain", "minmax"]}), make(axes={"normalization": ["minmax", "pretrain"]})),
        (make({"dataset": "own"}), make({"dataset": "own"}, datasets={"own": {"path": "/elsewhere"}})),
        (make(), make(datasets={"own": {"image_size": 64}}, sources={"other": {"epochs": 9}})),
        (make(), make(sources={"low": {"seed": 0}})),
        (make(), make(more_seeds={"resnet18/high/pretrain": [3]}, looks=2)),
        (make(more_seeds={"resnet18/high/pretrain": [3]}, looks=2), make()),
        (make(more_seeds={"resnet18/high/pretrain": [3]}), make(axes={"seed": [3]})),
        (make(axes={"flip": [True]}, more_seeds={"resnet18/high/flip=True/pretrain": [3]}), make(axes={"seed": [3]})),
    ],
    ids=[
        *("longer axis", "shorter and reordered axis", "another axis altogether", "recipe and axis change places"),
        *("new axis", "axis gone", "axis of a default", "new model", "defaults spelled out", "question and device"),
        *("baseline", "path", "what is not used", "a source's default spelled out"),
        *("further seeds", "no further seeds", "a further seed on the axis", "a further seed makes an axis"),
    ],
)
def test_what_is_no_change(old: Study, new: Study) -> None:
    """A grid that grows, shrinks or is told otherwise leaves its cells what they are."""
    assert changed(old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (make({"epochs": 4}), make({"epochs": 8}), ["recipe.epochs: 4 -> 8"]),
        (make(), make({"lr": 0.01}), ["recipe.lr: 0.001 (default) -> 0.01"]),
        (make({"epochs": 4}), make(), ["recipe.epochs: 4 -> 100 (default)"]),
        (make({"flip": False}), make({"flip": True}), ["recipe.flip: false -> true"]),
        (make(), make({"limit_train": 512}), ["recipe.limit_train: none -> 512"]),
        (make({"epochs": 4}), make({"epochs": 8}, axes={"seed": [2, 3]}), ["recipe.epochs: 4 -> 8"]),
        (make(), make({"source": "torchvision"}), ["recipe.source: low -> torchvision"]),
        (
            make({"source": "torchvision", "weights": "IMAGENET1K_V2"}),
            make({"source": "torchvision"}),
            ["recipe.weights: IMAGENET1K_V2 -> IMAGENET1K_V1 (default)"],
        ),
        (
            make({"source": "torchvision", "weights": "IMAGENET1K_V2"}),
            make({"source": "random"}),
            ["recipe.source: torchvision -> random"],
        ),
        (make(), make({"model": "densenet121"}), ["recipe.model: resnet18 -> densenet121"]),
        (make(), make({"dataset": "own"}), ["recipe.dataset: high -> own"]),
        (make(), make(datasets={"high": {"image_size": 32}}), ["datasets.high.image_size: 16 -> 32"]),
        (
            make(),
            make(datasets={"high": {"classes": [5, 6], "image_size": None, "split_seed": 9}}),
            [
                "datasets.high.classes: [5, 6, 7, 8, 9] -> [5, 6]",
                "datasets.high.image_size: 16 -> none",
                "datasets.high.split_seed: 0 (default) -> 9",
            ],
        ),
        (
            make({"dataset": "own"}),
            make({"dataset": "own"}, datasets={"own": {"kind": "digits", "path": None}}),
            ["datasets.own.kind: folder -> digits"],
        ),
        (make(), make(datasets={"low": {"image_size": 32}}), ["datasets.low.image_size: 16 -> 32"]),
        (
            make({"dataset": "low"}),
            make({"dataset": "low"}, datasets={"low": {"image_size": 32}}),
            ["datasets.low.image_size: 16 -> 32"],
        ),
        (make(), make(sources={"low": {"epochs": 2}}), ["sources.low.epochs: 1 -> 2"]),
        (make(), make(sources={"low": {"seed": 5}}), ["sources.low.seed: 0 (default) -> 5"]),
        (make(), make(sources={"low": {"dataset": "own"}}), ["sources.low.dataset: low -> own"]),
        (
            make({"lr": 0.01, "epochs": 4}),
            make({"epochs": 8}, datasets={"high": {"channels": 1}}, sources={"low": {"epochs": 2}}),
            [
                "recipe.epochs: 4 -> 8",
                "recipe.lr: 0.01 -> 0.001 (default)",
                "datasets.high.channels: none -> 1",
                "sources.low.epochs: 1 -> 2",
            ],
        ),
    ],
)
def test_how_a_change_is_named(old: Study, new: Study, lines: list[str]) -> None:
    """A line says what stood in the file and what stands there now, recipe first, then datasets and sources."""
    assert changed(old, new) == lines


def test_a_changed_recipe_of_further_seeds_alone_is_found() -> None:
    """Where the seeds that both have are further ones in one of them, their cells are counterparts too."""
    old = make({"epochs": 4}, more_seeds={"resnet18/high/pretrain": [3]})
    assert changed(old, make({"epochs": 8}, axes={"seed": [3]})) == ["recipe.epochs: 4 -> 8"]


def test_a_source_that_left_the_study_is_named_whole() -> None:
    """Where a source is no longer, or only now, the study's own to train, its entry is what changed."""
    trained = make()
    document = trained.document()
    found = parse_study({**document, "sources": {}}, file="found.yaml")
    assert changed(trained, found) == ["sources.low: {dataset: low, epochs: 1} -> none"]
    assert changed(found, trained) == ["sources.low: none -> {dataset: low, epochs: 1}"]


def test_every_dataset_of_an_axis_is_looked_at() -> None:
    """Where an axis selects datasets, those that changed are named and no other, whatever their place on the axis."""
    axes = {"epochs": [4, 8], "dataset": ["high", "own", "digits"], "seed": [1, 2, 3]}
    old = make(axes=axes)
    for name, before in (("high", "16"), ("own", "none")):
        new = make(axes=axes, datasets={name: {"image_size": 64}})
        assert changed(old, new) == [f"datasets.{name}.image_size: {before} -> 64"]
    both = make(axes=axes, datasets={"high": {"image_size": 64}, "own": {"image_size": 64}})
    assert changed(old, both) == ["datasets.high.image_size: 16 -> 64", "datasets.own.image_size: none -> 64"]


def test_every_source_and_the_weights_of_an_axis_are_looked_at() -> None:
    """Where an axis selects sources, a change of one, or of the weights that one of them uses, is found."""
    axes = {"seed": [1, 2], "source": ["random", "low", "other", "torchvision"]}
    old = make(axes=axes)
    assert changed(old, make(axes=axes, sources={"other": {"lr": 0.5}})) == ["sources.other.lr: 0.1 -> 0.5"]
    weights = ["recipe.weights: IMAGENET1K_V1 (default) -> IMAGENET1K_V2"]
    assert changed(old, make({"weights": "IMAGENET1K_V2"}, axes=axes)) == weights
    fewer = {**axes, "source": ["low", "random"]}
    assert changed(old, make({"weights": "IMAGENET1K_V2"}, axes=fewer)) == []


def test_a_large_grid_is_not_walked() -> None:
    """The cells of a grid of 100,000 are not made: a few stand for all of them."""
    axes = {"seed": list(range(500)), "batch_size": list(range(1, 101)), "normalization": ["pretrain", "minmax"]}
    more = {**axes, "seed": list(range(400, 900))}
    old, new = make(axes=axes), make({"epochs": 8}, axes=more)
    assert changed(old, new) == ["recipe.epochs: 100 (default) -> 8"]
    assert "cells" not in vars(old) and "cells" not in vars(new)
    assert changed(old, make(axes=more)) == []


@pytest.mark.parametrize("name", ["quickstart", "norm-test", "cifar10-folder"])
def test_the_shipped_studies(name: str) -> None:
    """More seeds of a shipped study are no change; fewer epochs are, and the line says which."""
    assert EXPERIMENTS.is_dir(), "run from the repository's root"
    study = load_study(name)
    assert changed(study, load_study(name, axes=["seed=1,2,3,4,223"])) == []
    epochs = study.recipe["epochs"]
    assert changed(study, load_study(name, settings=["epochs=1"])) == [f"recipe.epochs: {epochs} -> 1"]
