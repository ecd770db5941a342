"""Rules of reading a study file: what is found, what is read, and how each mistake is named."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tracker.study.errors import StudyError, UsageError
from tracker.study.load import EXPERIMENTS, MAX_CELLS, find_study_file, load_study, parse_study
from tracker.study.yamlfile import MAX_FILE_BYTES

GOOD = """\
question: Which one?
recipe:
  model: resnet18
  dataset: digits
  normalization: pretrain
axes:
  seed: [1, 2]
"""

DOCUMENT: dict[str, Any] = {
    "name": "good",
    "question": "Which one?",
    "recipe": {"model": "resnet18", "dataset": "digits", "normalization": "pretrain"},
    "axes": {"seed": [1, 2]},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def error_of(folder: Path, text: str | bytes) -> StudyError:
    """Return the error that a file of this content gives; it names the file first of all."""
    path = folder / "good.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(StudyError) as caught:
        load_study(str(path))
    assert caught.value.file == str(path)
    assert str(caught.value).startswith(str(path))
    assert caught.value.exit_code == 2
    return caught.value


def changed(**sections: Any) -> dict[str, Any]:
    """Return the good document with keys put into its sections, or sections put in place of others."""
    document = copy.deepcopy(DOCUMENT)
    for name, value in sections.items():
        if name == "recipe" and isinstance(value, dict):
            document["recipe"].update(value)
        elif name == "axes" and isinstance(value, dict) and value:
            document["axes"].update(value)
        else:
            document[name] = value
    return document


def test_a_good_file(folder: Path) -> None:
    """A file's name is its study's, a whole number stands for a float, and the rest has defaults."""
    (folder / "good.yaml").write_text(GOOD.replace("normalization: pretrain", "normalization: pretrain\n  lr: 1"))
    study = load_study("good.yaml")
    assert (study.name, study.question, study.baseline, study.device) == ("good", "Which one?", "pretrain", "auto")
    assert [cell.recipe.seed for cell in study.cells] == [1, 2]
    assert study.recipe["lr"] == 1.0 and isinstance(study.recipe["lr"], float)


@pytest.mark.parametrize(
    ("document", "key", "problem", "accepted"),
    [
        # keys that are not there
        (changed(recipe={"modle": "x"}), "recipe.modle", "is not a recipe key", "model? All: model, dataset"),
        (changed(axes={"seeds": [1]}), "axes.seeds", "is not a recipe key", "seed? All: model"),
        (changed(axis={}), "axis", "is not a key here", "axes? All: name, question"),
        (changed(datasets={"own": {"kind": "digits", "chanels": 1}}), "datasets.own.chanels", "not a key", "channels?"),
        (changed(sources={"s": {"dataset": "digits", "epoch": 1}}), "sources.s.epoch", "not a key of", "epochs?"),
        (changed(sources={"s": {"dataset": "digits", "model": "x"}}), "sources.s.model", "not a key", "dataset,"),
        (changed(sources={"s": {"dataset": "digits", "normalization": "minmax"}}), "sources.s.normalization",
         "not a key", "dataset,"),
        (changed(more_seeds={"resnet18/digits/pretrian": [3]}), "more_seeds.resnet18/digits/pretrian",
         "not a configuration of the grid", "resnet18/digits/pretrain"),
        (changed(more_seeds={7: [3]}), "more_seeds[7]", "valid string", None),
        # further seeds
        (changed(more_seeds=[3]), "more_seeds", "is [3]", "names of configurations"),
        (changed(more_seeds={"resnet18/digits/pretrain": 3}), "more_seeds.resnet18/digits/pretrain", "not a list",
         "[3]"),
        (changed(more_seeds={"resnet18/digits/pretrain": []}), "more_seeds.resnet18/digits/pretrain", "empty list",
         "at least one value"),
        (changed(more_seeds={"resnet18/digits/pretrain": [3, 3]}), "more_seeds.resnet18/digits/pretrain[1]",
         "3 stands twice", "once"),
        (changed(more_seeds={"resnet18/digits/pretrain": [-3]}), "more_seeds.resnet18/digits/pretrain[0]",
         "greater than or equal to 0", "a whole number"),
        (changed(more_seeds={"resnet18/digits/pretrain": [3, 2]}), "more_seeds.resnet18/digits/pretrain[1]",
         "2 is a seed of the grid", "further ones"),
        ({**DOCUMENT, "axes": {"flip": [True]}, "more_seeds": {"resnet18/digits/flip=True/pretrain": [223]}},
         "more_seeds.resnet18/digits/flip=True/pretrain[0]", "223 is a seed of the grid", "further ones"),
        (changed(looks=-1), "looks", "greater than or equal to 0", "a whole number"),
        # keys that are missing
        ({key: value for key, value in DOCUMENT.items() if key != "question"}, "question", "is missing", "text"),
        ({key: value for key, value in DOCUMENT.items() if key != "axes"}, "axes", "is missing", "seed: [1, 2, 3]"),
        ({key: value for key, value in DOCUMENT.items() if key != "recipe"}, "recipe.model", "is missing", None),
        ({**DOCUMENT, "recipe": {"model": "x", "dataset": "digits"}}, "recipe.normalization", "is missing", None),
        (changed(datasets={"own": {}}), "datasets.own.kind", "is missing", "digits, folder"),
        (changed(datasets={"own": {"kind": "folder"}}), "datasets.own", "`path` goes with", None),
        (changed(sources={"s": {}}), "sources.s.dataset", "is missing", "cifar10, cifar100"),
        # what YAML reads otherwise than it looks
        (changed(recipe={"lr": "1e-3"}), "recipe.lr", "'1e-3' is text", "0.001"),
        (changed(recipe={"lr": "1e-12"}), "recipe.lr", "'1e-12' is text", "1.0e-12"),
        (changed(recipe={"epochs": "1e2"}), "recipe.epochs", "'1e2' is text", "100"),
        (changed(axes={"lr": [0.1, "1E-3"]}), "axes.lr[1]", "'1E-3' is text", "0.001"),
        (changed(sources={"s": {"dataset": "digits", "lr": "1e-3"}}), "sources.s.lr", "'1e-3' is text", "0.001"),
        (changed(recipe={"tune": False}), "recipe.tune", "is false (YAML reads `no`", "full or head"),
        (changed(axes={"tune": ["full", True]}), "axes.tune[1]", "is true (YAML reads `yes`", "full or head"),
        (changed(baseline=False), "baseline", "is false (YAML reads `no`", "text"),
        (changed(datasets={"own": {"kind": "digits", "classes": [0, True]}}), "datasets.own.classes[1]", "is true",
         "a list or null"),
        # wrong types and values
        (changed(recipe={"epochs": 5.0}), "recipe.epochs", "5.0: input should be a valid integer", "a whole number"),
        (changed(recipe={"epochs": 0}), "recipe.epochs", "0: input should be greater than or equal to 1", "a whole"),
        (changed(recipe={"epochs": [1, 2]}), "recipe.epochs", "[1, 2]: input should be", "a whole number (passes"),
        (changed(recipe={"lr": float("nan")}), "recipe.lr", "nan: input should be", "a number (learning rate"),
        (changed(recipe={"flip": "no"}), "recipe.flip", "'no': input should be", "true or false"),
        (changed(recipe={"tune": "hedd"}), "recipe.tune", "is 'hedd'", "head? All: full, head"),
        (changed(recipe={"dataset": None}), "recipe.dataset", "None: input should be", "text"),
        (changed(recipe={"limit_train": 0}), "recipe.limit_train", "0: input should be", "a whole number or null"),
        (changed(recipe={"model": "a/b"}), "recipe.model", "'a/b' is not a name", "letters, digits"),
        (changed(recipe=5), "recipe", "is 5", "a mapping of model, dataset"),
        (changed(recipe=[]), "recipe", "is []", "a mapping of model, dataset"),
        (changed(question=""), "question", "'': string should have at least 1", "text"),
        (changed(name="../up"), "name", "'../up' is not a name", "letters, digits"),
        (changed(device="gpu"), "device", "is 'gpu'", "auto, cpu, cuda"),
        (changed(datasets=[]), "datasets", "is []", "a mapping"),
        (changed(datasets={"a b": {"kind": "digits"}}), "datasets.a b", "'a b' is not a name", "letters"),
        (changed(datasets={"own": 5}), "datasets.own", "is 5", "kind, path"),
        (changed(datasets={"own": {"kind": "digit"}}), "datasets.own.kind", "is 'digit'", "digits? All: cifar10"),
        (changed(datasets={"own": {"kind": "digits", "image_size": "big"}}), "datasets.own.image_size", "'big'",
         "a whole number or null"),
        (changed(datasets={"own": {"kind": "digits", "classes": [1, 1]}}), "datasets.own", "names a class twice", None),
        (changed(datasets={"own": {"kind": "digits", "channels": 2}}), "datasets.own.channels", "is 2", "1, 3"),
        (changed(sources=[]), "sources", "is []", "a mapping"),
        (changed(sources={"s": 5}), "sources.s", "5: input should be a valid dictionary", "a mapping"),
        (changed(sources={"s": {"dataset": "digits", "epochs": 0}}), "sources.s.epochs", "0: input", "a whole"),
        # axes
        (changed(axes={}), "axes", "is missing or empty", "seed: [1, 2, 3]"),
        (changed(axes=None), "axes", "is missing or empty", "seed: [1, 2, 3]"),
        (changed(axes=[1]), "axes", "is [1]", "a mapping of model"),
        (changed(axes={"seed": []}), "axes.seed", "is an empty list", "at least one value"),
        (changed(axes={"seed": 5}), "axes.seed", "is 5, not a list", "[5]"),
        (changed(axes={"tune": "full"}), "axes.tune", "is 'full', not a list", "[full]"),
        (changed(axes={"seed": {"from": 1}}), "axes.seed", "not a list", None),
        (changed(axes={"seed": [1, 2, 1]}), "axes.seed[2]", "1 stands twice", "each value once"),
        (changed(axes={"lr": [1, 1.0]}), "axes.lr[1]", "1.0 stands twice", "each value once"),
        (changed(axes={"model": ["resnet18"]}), "axes.model", "stands in the recipe too", "one of the two"),
        (changed(axes={"seed": list(range(1001)), "epochs": list(range(1, 1001))}), "axes", "make 1,001,000 cells",
         f"at most {MAX_CELLS:,}"),
        (changed(axes={"seed": list(range(1000)), "epochs": list(range(1, 1001))},
                 more_seeds={"resnet18/digits/epochs=1/pretrain": [1000]}), "axes", "make 1,000,001 cells",
         f"at most {MAX_CELLS:,}"),
        # names that refer to nothing
        (changed(recipe={"normalization": "instnace"}), "recipe.normalization", "'instnace' is not a normalization",
         "instance? All: finetune, pretrain, instance, minmax"),
        (changed(recipe={"dataset": "cifar"}), "recipe.dataset", "'cifar' is not a dataset", "cifar10? All: cifar10"),
        (changed(recipe={"dataset": "folder"}), "recipe.dataset", "'folder' is not a dataset", "cifar10, cifar100"),
        (changed(sources={"s": {"dataset": "nosuch"}}), "sources.s.dataset", "'nosuch' is not a dataset", "digits"),
        (changed(baseline="finetune"), "baseline", "'finetune' is not a normalization of this study", "pretrain"),
        # names that are taken
        (changed(datasets={"cifar10": {"kind": "digits"}}), "datasets.cifar10", "built-in dataset", "another name"),
        (changed(sources={"random": {"dataset": "digits"}}), "sources.random", "built-in source", "another name"),
    ],
)  # fmt: skip
def test_every_mistake_is_named(document: dict[str, Any], key: str, problem: str, accepted: str | None) -> None:
    """An error names the file, the key, the value and what would be accepted."""
    with pytest.raises(StudyError) as caught:
        parse_study(document, file="study.yaml")
    error = caught.value
    assert (error.file, error.key) == ("study.yaml", key)
    assert problem in error.problem
    assert accepted is None or (error.accepted is not None and accepted in error.accepted)
    assert str(error).startswith(f"study.yaml: {key}: ")


def test_a_dataset_on_an_axis_is_looked_up_too() -> None:
    """The value's place in the list is named."""
    document = {**DOCUMENT, "recipe": {"model": "resnet18", "normalization": "pretrain"}}
    document["axes"] = {"dataset": ["digits", "nosuch"]}
    with pytest.raises(StudyError, match=r"axes\.dataset\[1\]: 'nosuch' is not a dataset"):
        parse_study(document, file="study.yaml")


def test_a_source_made_elsewhere_is_no_mistake() -> None:
    """`tracker pretrain` may have made it: only the sweep can tell, on the machine it runs on."""
    study = parse_study(changed(recipe={"source": "made-before"}), file="study.yaml")
    assert [cell.source for cell in study.cells] == [None, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "question: Again?\n", "line 8: the key 'question' stands twice"),
        (GOOD.replace("seed: [1, 2]", "seed: [1, 2]\n  seed: [3]"), "line 8: the key 'seed' stands twice"),
        (GOOD + "baseline: &name pretrain\n", "line 8: anchors and aliases"),
        (GOOD + "baseline: *name\n", "line 8: anchors and aliases"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "line 1: anchors and aliases"),
        (GOOD + "<<: {device: cpu}\n", "line 8"),
        (GOOD + "5: five\n", "line 8: the key 5 is not text"),
        (GOOD + "no: five\n", "line 8: the key False is not text"),
        (GOOD + "? [1, 2]\n: five\n", "line 8: the key [1, 2] is not text"),
        (GOOD + "device: [\n", "line 9"),
        (GOOD + "---\nquestion: Two?\n", "line 8: but found another document"),
        (GOOD + "device: !!python/object/apply:os.system [echo]\n", "line 8"),
        (GOOD + "device: !!int ''\n", "cannot be read"),
        (GOOD + "device: !!map [1]\n", "cannot be read"),
        (GOOD + "device: 0x_\n", "cannot be read"),
        (GOOD + "device: \x07\n", "cannot be read as YAML"),
        (GOOD + "device: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        (b"question: \xff\xfe\n", "is not UTF-8 text"),
        (GOOD + "#" * MAX_FILE_BYTES, "larger than 1 MiB"),
        ("", "is not a mapping"),
        ("- resnet18\n", "is not a mapping"),
        ("resnet18\n", "is not a mapping"),
    ],
)
def test_what_is_no_study_file(folder: Path, text: str | bytes, message: str) -> None:
    """Whatever the file holds, the answer is one error that names it, with the line where there is one."""
    error = error_of(folder, text)
    assert message in error.message
    assert "\n" not in error.message or "special characters" in error.message


def test_dates_are_text(folder: Path) -> None:
    """YAML's dates are not recipe values; a name that looks like one is a name."""
    (folder / "study.yaml").write_text(GOOD + "name: 2026-11-21\n")
    assert load_study("study.yaml").name == "2026-11-21"


def test_a_file_that_cannot_be_read(folder: Path) -> None:
    """A file that goes away between finding and reading, or a folder in its place, is named."""
    (folder / "study.yaml").mkdir()
    with pytest.raises(UsageError, match=r"study\.yaml: there is no such study file"):
        load_study("study.yaml")


def test_relative_paths_start_from_the_study_file(folder: Path) -> None:
    """A dataset's path means the same wherever the command runs; parsed without a folder it stays as it is."""
    (folder / "deep").mkdir()
    own = "datasets:\n  own: {kind: folder, path: ../images}\n  abs: {kind: folder, path: /abs}\n"
    (folder / "deep" / "study.yaml").write_text(GOOD + own)
    study = load_study("deep/study.yaml")
    assert study.datasets["own"].path == str(folder / "deep" / "../images")
    assert study.datasets["abs"].path == "/abs"
    again = parse_study(json.loads(json.dumps(study.document())), file="again")
    assert again.datasets == study.datasets
    plain = parse_study({**DOCUMENT, "datasets": {"own": {"kind": "folder", "path": "images"}}}, file="plain")
    assert plain.datasets["own"].path == "images"


def test_studies_are_found_by_name(folder: Path) -> None:
    """A name means `experiments/NAME.yaml` here, else beside the package; a path means itself."""
    shipped = find_study_file("quickstart")
    assert shipped.is_absolute() and shipped.parts[-2:] == ("experiments", "quickstart.yaml")
    (folder / EXPERIMENTS).mkdir()
    (folder / EXPERIMENTS / "quickstart.yaml").write_text(GOOD)
    assert find_study_file("quickstart") == EXPERIMENTS / "quickstart.yaml"
    assert load_study("quickstart").question == "Which one?"
    assert find_study_file("experiments/quickstart.yaml") == Path("experiments/quickstart.yaml")


def test_a_study_that_is_not_there(folder: Path) -> None:
    """The error names those there are, the nearest first."""
    with pytest.raises(UsageError) as caught:
        find_study_file("quikstart")
    assert "there is no study 'quikstart'" in caught.value.message
    assert caught.value.cure is not None
    assert caught.value.cure.startswith("did you mean quickstart? ")
    assert "norm-test" in caught.value.cure
    with pytest.raises(UsageError, match=r"nosuch\.yml: there is no such study file"):
        find_study_file("nosuch.yml")


def test_loading_is_quick() -> None:
    """A thousand cells take well under a second: every command makes them, and every worker."""
    study = parse_study(changed(axes={"seed": list(range(1000))}), file="study.yaml")
    started = time.perf_counter()
    assert len({cell.id for cell in study.cells}) == 1000
    assert time.perf_counter() - started < 1.0
