"""Rules of `--set` and `--axis`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tracker.study.errors import StudyError, TrackerError, UsageError
from tracker.study.load import load_study
from tracker.study.recipe import RECIPE_KEYS
from tracker.study.study import Study

FILE = """\
question: Which one?
datasets:
  a: {kind: folder, path: images/a}
  b: {kind: folder, path: images/b}
sources:
  s: {dataset: a, epochs: 6}
recipe: {model: resnet18, dataset: b, source: s, epochs: 4}
axes:
  normalization: [pretrain, minmax]
  seed: [1, 2]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a study in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "study.yaml").write_text(FILE)
    return tmp_path


def load(*entries: str) -> Study:
    """Load the study with `--set` and `--axis` values: `seed=1,2` with a comma, or `axis:` before it, is an axis."""
    axes = [entry.removeprefix("axis:") for entry in entries if entry.startswith("axis:")]
    return load_study("deep/study.yaml", [entry for entry in entries if not entry.startswith("axis:")], axes)


@pytest.mark.parametrize(
    ("entry", "key", "value"),
    [
        ("recipe.epochs=5", "epochs", 5),
        ("epochs=5", "epochs", 5),
        (" recipe.epochs = 5 ", "epochs", 5),
        ("recipe.lr=1e-3", "lr", 0.001),
        ("recipe.lr=1", "lr", 1.0),
        ("recipe.flip=no", "flip", False),
        ("recipe.tune=head", "tune", "head"),
        ("recipe.limit_train=null", "limit_train", None),
        ("recipe.optimizer='sgd'", "optimizer", "sgd"),
    ],
)
def test_set_a_recipe_key(folder: Path, entry: str, key: str, value: Any) -> None:
    """A value is read as in the file, except that 1e-3 is the number it looks like; `recipe.` may be left out."""
    study = load(entry)
    assert study.recipe[key] == value
    assert type(study.recipe[key]) is type(value)


def test_the_last_of_equals_counts(folder: Path) -> None:
    """Repeated options are put in one after another."""
    assert load("recipe.epochs=5", "epochs=6").recipe["epochs"] == 6


def test_set_other_sections(folder: Path) -> None:
    """Sources, datasets and the study's own keys can be set; a new dataset can be made."""
    study = load("sources.s.epochs=1", "question=Why?", "name=other", "datasets.new.kind=digits", "dataset=new")
    assert study.sources["s"]["epochs"] == 1
    assert (study.question, study.name, study.recipe["dataset"]) == ("Why?", "other", "new")
    assert load("datasets.a.classes=[cat, dog]").datasets["a"].classes == ("cat", "dog")


def test_a_path_starts_from_where_the_command_runs(folder: Path) -> None:
    """On the command line a path means what it means to the shell, not what it would mean in the file."""
    study = load("datasets.a.path=elsewhere")
    assert study.datasets["a"].path == str(folder / "elsewhere")
    assert study.datasets["b"].path == str(folder / "deep" / "images/b")


def test_every_dataset_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datasets.*.path` sets the path of each; `~` is the home folder."""
    monkeypatch.setenv("HOME", str(folder / "me"))
    study = load("datasets.*.path=~/all")
    assert [spec.path for spec in study.datasets.values()] == [str(folder / "me" / "all")] * 2


def test_a_star_that_matches_nothing_is_an_error(folder: Path) -> None:
    """No option is silently without effect."""
    path = folder / "deep" / "study.yaml"
    path.write_text(
        "question: Q\nrecipe: {model: resnet18, dataset: digits, normalization: pretrain}\naxes: {seed: [1]}"
    )
    with pytest.raises(UsageError, match="this study has no datasets"):
        load("datasets.*.path=x")


def test_empty_sections_can_be_filled(folder: Path) -> None:
    """A section that the file leaves empty counts as left out."""
    path = folder / "deep" / "study.yaml"
    path.write_text("question: Q\nrecipe:\naxes:\ndatasets:\nsources:\n")
    study = load("model=resnet18", "dataset=digits", "axis:normalization=pretrain,minmax")
    assert (study.recipe, len(study.cells)) == ({"model": "resnet18", "dataset": "digits"}, 2)


@pytest.mark.parametrize(
    ("entry", "key", "values"),
    [
        ("axis:seed=3,4,5", "seed", (3, 4, 5)),
        ("axis:seed=3", "seed", (3,)),
        ("axis:axes.seed= 3 , 4 ", "seed", (3, 4)),
        ("axis:lr=1e-3,1e-4", "lr", (0.001, 0.0001)),
        ("axis:flip=yes,no", "flip", (True, False)),
        ("axis:epochs=1,2", "epochs", (1, 2)),
        ("axis:limit_train=null,100", "limit_train", (None, 100)),
    ],
)
def test_axis(folder: Path, entry: str, key: str, values: tuple[Any, ...]) -> None:
    """An axis is given other values, or made of a key that the recipe held."""
    study = load(entry)
    assert study.axes[key] == values
    assert key not in study.recipe


def test_only_the_changed_cells_are_new(folder: Path) -> None:
    """Adding a seed keeps the cells that were there."""
    before = {cell.id for cell in load().cells}
    after = {cell.id for cell in load("axis:seed=1,2,3").cells}
    assert before < after
    assert len(after - before) == 2


@pytest.mark.parametrize(
    ("entry", "message", "cure"),
    [
        ("recipe.epochs", "--set 'recipe.epochs' is not KEY=VALUE", "--set recipe.epochs=5"),
        ("recipe.epochs=", "is not KEY=VALUE", "--set recipe.epochs=5"),
        ("=5", "is not KEY=VALUE", "--set recipe.epochs=5"),
        ("nosuch=1", "'nosuch' cannot be set", "recipe.KEY"),
        (".epochs=1", "'.epochs' cannot be set", "recipe.KEY"),
        ("axes.seed=1", "'axes.seed' cannot be set", "--axis KEY=VALUES"),
        ("seed=5", "seed is an axis of this study", "--axis seed=5"),
        ("recipe.seed=5", "seed is an axis of this study", "--axis seed=5"),
        ("recipe.epochs.x=5", "'epochs' holds a single value", None),
        ("recipe.epochs=[1", "'[1' cannot be read as a value", None),
        ("recipe.epochs=&a 1", "cannot be read as a value", None),
        ("recipe.epochs=" + "[" * 5000, "cannot be read as a value", None),
        ("axis:seed", "--axis 'seed' is not KEY=VALUE", "--axis seed=1,2,3"),
        ("axis:nosuch=1", "'nosuch' is not a recipe key", ", ".join(RECIPE_KEYS)),
        ("axis:seed=[1", "cannot be read as a value", None),
    ],
)
def test_overrides_that_cannot_be_meant(folder: Path, entry: str, message: str, cure: str | None) -> None:
    """The error names the option as it was given and shows how it is written."""
    with pytest.raises(UsageError) as caught:
        load(entry)
    assert not isinstance(caught.value, StudyError)
    assert message in caught.value.message
    assert cure is None or (caught.value.cure is not None and cure in caught.value.cure)


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ("recipe.nosuch=1", "recipe.nosuch"),
        ("recipe.*=1", "recipe.*"),
        ("recipe.epochs=five", "recipe.epochs"),
        ("recipe=5", "recipe"),
        ("sources.s.epochs=0", "sources.s.epochs"),
        ("datasets.c.path=x", "datasets.c.kind"),
        ("axis:seed=1,,2", "axes.seed[1]"),
        ("axis:seed=1,1", "axes.seed[1]"),
    ],
)
def test_values_are_checked_as_in_the_file(folder: Path, entry: str, key: str) -> None:
    """What an override puts in goes through the same checks, named by the same keys."""
    with pytest.raises(TrackerError) as caught:
        load(entry)
    assert isinstance(caught.value, StudyError)
    assert caught.value.key == key
