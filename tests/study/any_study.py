"""Any study there can be, drawn by Hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tracker.study.load import parse_study
from tracker.study.recipe import RECIPE_KEYS
from tracker.study.study import Cell, Study, first_by_configuration

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
