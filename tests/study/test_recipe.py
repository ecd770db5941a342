"""Rules of the recipe: its defaults, what it refuses, and what an image set's entry takes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tracker.study.recipe import (
    DATASET_KINDS,
    NORMALIZATIONS,
    RECIPE_KEYS,
    DatasetSpec,
    Recipe,
    non_default,
    normalization_names,
)

REQUIRED: dict[str, Any] = {"model": "resnet18", "dataset": "digits", "normalization": "pretrain"}

DEFAULTS = {
    "seed": 223,
    "source": "torchvision",
    "weights": "IMAGENET1K_V1",
    "tune": "full",
    "statistics": "exact",
    "epochs": 100,
    "batch_size": 256,
    "optimizer": "adam",
    "lr": 0.001,
    "weight_decay": 0.0,
    "schedule": "cosine",
    "precision": "fp32",
    "shift": "as-is",
    "crop_padding": 4,
    "flip": True,
    "val_fraction": 0.0,
    "limit_train": None,
    "limit_test": None,
}
"""Defaults are left out of identities, so they are part of every one: never change a line. A new key gets a new one."""


def test_defaults_never_change() -> None:
    """The defaults are the reference protocol, and every stored cell's id rests on them."""
    assert Recipe(**REQUIRED).model_dump() == {**REQUIRED, **DEFAULTS}
    assert set(RECIPE_KEYS) == {*REQUIRED, *DEFAULTS}


def test_defaults_of_a_dataset_never_change() -> None:
    """The same holds for the entries of `datasets`."""
    others = ("path", "classes", "image_size", "channels", "test_fraction")
    defaults = {"kind": "digits", "split_seed": 0, "unreadable": "refuse", **dict.fromkeys(others)}
    assert DatasetSpec(kind="digits").model_dump() == defaults


def test_every_key_is_described() -> None:
    """Each key of a recipe and of a dataset says what it does: errors and the reference quote it."""
    fields = {**Recipe.model_fields, **DatasetSpec.model_fields}
    assert len(fields) == len(RECIPE_KEYS) + 8
    for name, field in fields.items():
        assert field.description and len(field.description) > 10, name


def test_a_recipe_cannot_be_changed() -> None:
    """A recipe is frozen: nothing that holds one can change another's cell."""
    recipe = Recipe(**REQUIRED)
    with pytest.raises(ValidationError, match="frozen"):
        recipe.epochs = 5  # type: ignore[misc]


def test_non_default_leaves_out_what_a_default_says() -> None:
    """Spelling a default out changes nothing."""
    assert non_default(Recipe(**REQUIRED)) == REQUIRED
    assert non_default(Recipe(**REQUIRED, epochs=100, lr=0.001)) == REQUIRED
    assert non_default(Recipe(**REQUIRED, epochs=5)) == {**REQUIRED, "epochs": 5}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("epochs", 0), ("epochs", 1.0), ("epochs", True), ("epochs", "5"), ("seed", -1), ("seed", 2**63)],
        *[("lr", 0.0), ("lr", "0.1"), ("lr", float("nan")), ("lr", float("inf")), ("lr", 101)],
        *[("weight_decay", float("nan")), ("weight_decay", -0.1), ("val_fraction", 0.6), ("flip", 1), ("flip", "no")],
        *[("tune", "half"), ("optimizer", "Adam"), ("schedule", False), ("statistics", None), ("limit_train", 0)],
        *[("precision", "fp16"), ("precision", "FP32"), ("precision", 32), ("precision", None)],
        *[("model", ""), ("model", "a/b"), ("model", "../up"), ("dataset", "a b"), ("source", ".hidden")],
        *[("source", "x" * 81), ("weights", None), ("normalization", "instnace"), ("epoch", 5), ("batch_size", 0)],
    ],
)
def test_what_a_recipe_refuses(key: str, value: Any) -> None:
    """Types are strict, ranges hold, names are safe as file names, and unknown keys are refused."""
    with pytest.raises(ValidationError):
        Recipe(**{**REQUIRED, key: value})


def test_normalizations_are_a_closed_set() -> None:
    """Every known normalization is accepted; the list is the built-in ones and those of installed packages."""
    names = normalization_names()
    assert names[:4] == list(NORMALIZATIONS) == ["finetune", "pretrain", "instance", "minmax"]
    for name in names:
        assert Recipe(**{**REQUIRED, "normalization": name}).normalization == name


@pytest.mark.parametrize("kind", DATASET_KINDS)
def test_every_kind_of_dataset(kind: str) -> None:
    """Every kind stands alone, except a folder, which needs its path."""
    given: dict[str, Any] = {"kind": kind, "path": "images"}
    wrong = given if kind != "folder" else {"kind": kind}
    right = {"kind": kind} if kind != "folder" else given
    assert DatasetSpec(**right).kind == kind
    with pytest.raises(ValidationError, match="`path` goes with"):
        DatasetSpec(**wrong)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"kind": "svhn", "classes": [0, 1]}, "`classes` goes with"),
        ({"kind": "digits", "classes": ["zero", "one"]}, "`classes` takes digits"),
        ({"kind": "digits", "classes": [0, 10]}, "`classes` takes digits"),
        ({"kind": "digits", "classes": [3, 3]}, "names a class twice"),
        ({"kind": "digits", "classes": [3]}, "at least 2"),
        ({"kind": "digits", "classes": "01"}, "classes"),
        ({"kind": "folder", "path": "x", "classes": [0, 1]}, "names of class folders"),
        ({"kind": "cifar10", "test_fraction": 0.2}, "own split"),
        ({"kind": "digits", "test_fraction": 1.0}, "less than 1"),
        ({"kind": "digits", "channels": 2}, "1 or 3"),
        ({"kind": "digits", "image_size": 7}, "greater than or equal to 8"),
        ({"kind": "folder", "path": ""}, "at least 1"),
        ({"kind": "mnist"}, "cifar10"),
        ({}, "required"),
    ],
)
def test_what_a_dataset_refuses(keys: dict[str, Any], message: str) -> None:
    """A key that its kind does not use would be a silent no-op, so it is refused."""
    with pytest.raises(ValidationError, match=message):
        DatasetSpec(**keys)


def test_a_path_is_not_identity() -> None:
    """The same images may lie elsewhere on another machine; what they are decides."""
    here = DatasetSpec(kind="folder", path="/here", classes=("cat", "dog"))
    there = DatasetSpec(kind="folder", path="/there", classes=("cat", "dog"))
    assert here.identity() == there.identity() == {"kind": "folder", "classes": ["cat", "dog"]}
    assert DatasetSpec(kind="folder", path="/here").identity() != here.identity()
