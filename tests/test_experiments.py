"""Rules of the shipped studies: each loads, and its header tells the truth."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tracker.study.load import load_study
from tracker.study.recipe import Recipe

FOLDER = Path(__file__).resolve().parents[1] / "experiments"
FILES = sorted(FOLDER.glob("*.y*ml"))
HEADER = ("Cells", "Command", "Needs", "Cost", "Expected")
HYPOTHESIS_HEADER = ("Hypothesis", "How", "Prediction", "Outcome", "Cells", "Command", "Needs", "Cost")
"""Of a study that was made to test one: the prediction was written before the outcome was known."""


def header_of(path: Path) -> dict[str, str]:
    """Return the header's entries: the comment before the first key, `# Word: text` with its continuation lines."""
    entries: dict[str, str] = {}
    word = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if match := re.match(r"# ([A-Z]\w+): +(\S.*)", line):
            word = match[1]
            entries[word] = match[2]
        elif word:
            entries[word] += " " + line.lstrip("# ").rstrip()
    return entries


def test_every_file_is_looked_at() -> None:
    """A new study comes with a change of this list."""
    asked = ["cifar10-folder", "norm-test", "quickstart"]
    tested = ["consistency", "consistency-photos", "consistency-rgb", "data-size", "frozen"]
    assert {path.stem for path in FILES} == {*asked, *tested}
    assert {path.stem for path in FILES if "Hypothesis" in header_of(path)} == {*tested}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_study_is_what_its_header_says(path: Path) -> None:
    """The first line is the question's gist; Cells gives the count and the product it is made of; Command runs it."""
    study = load_study(str(path))
    lines = path.read_text(encoding="utf-8").splitlines()
    assert re.match(r"# [A-Z].*[.?]$", lines[0])
    header = header_of(path)
    assert tuple(header) in (HEADER, HYPOTHESIS_HEADER)
    match = re.fullmatch(r"(\d+) \((.+)\)", header["Cells"])
    assert match is not None
    assert int(match[1]) == len(study.cells) == len({cell.id for cell in study.cells})
    factors = [int(number) for number in re.findall(r"\d+", match[2])]
    assert factors == [len(values) for values in study.axes.values()]
    assert header["Command"].startswith(f"tracker sweep --study {path.stem}")
    assert study.name == path.stem
    assert len({cell.name for cell in study.cells}) == len(study.cells)


def test_norm_test_is_the_reference_protocol() -> None:
    """Key by key, every cell is what the reference study ran: nothing is left to a default that is not its own."""
    study = load_study(str(FOLDER / "norm-test.yaml"))
    assert dict(study.axes) == {
        "model": ("resnet18", "resnet50", "densenet121", "densenet161"),
        "dataset": ("cifar10", "cifar100", "svhn", "tiny-imagenet-200"),
        "normalization": ("finetune", "pretrain", "instance", "minmax"),
        "seed": (223,),
    }
    protocol = {
        "source": "torchvision",
        "weights": "IMAGENET1K_V1",
        "tune": "full",
        "shift": "as-is",
        "statistics": "published",
        "epochs": 100,
        "batch_size": 256,
        "optimizer": "adam",
        "lr": 0.001,
        "weight_decay": 0.0,
        "schedule": "cosine",
        "precision": "fp32",
        "crop_padding": 4,
        "flip": True,
        "val_fraction": 0.0,
        "limit_train": None,
        "limit_test": None,
    }
    assert {*protocol, *study.axes} == set(Recipe.model_fields)
    assert len(study.cells) == 64
    for cell in study.cells:
        assert cell.recipe == Recipe(**protocol, **cell.point)  # type: ignore[arg-type]
        assert cell.dataset.identity() == {"kind": cell.recipe.dataset}
        assert cell.source is None
    assert study.baseline == "pretrain"
    assert study.device == "cuda"


def test_quickstart_is_the_forum_question() -> None:
    """A source of other digits, fine-tuned whole and by its head, under each normalization, with three seeds."""
    study = load_study(str(FOLDER / "quickstart.yaml"))
    assert study.axes["tune"] == ("full", "head")
    assert set(study.axes["normalization"]) == {"finetune", "pretrain", "instance", "minmax"}
    assert len(study.axes["seed"]) == 3
    assert len({cell.source_id for cell in study.cells}) == 1
    for cell in study.cells:
        assert cell.source is not None and cell.source_dataset is not None
        assert cell.source_dataset.classes == (0, 1, 2, 3, 4)
        assert cell.dataset.classes == (5, 6, 7, 8, 9)
        assert cell.recipe.val_fraction > 0, "selected_acc needs a validation split"


def test_cifar10_folder_keeps_source_and_target_apart() -> None:
    """The target's classes are none the source has seen; both are folders that `--set datasets.*.path` can move."""
    study = load_study(str(FOLDER / "cifar10-folder.yaml"), ["datasets.*.path=/elsewhere"])
    shipped = load_study(str(FOLDER / "cifar10-folder.yaml"))
    assert {spec.path for spec in study.datasets.values()} == {"/elsewhere"}
    assert [cell.id for cell in study.cells] == [cell.id for cell in shipped.cells]
    cell = study.cells[0]
    assert cell.source_dataset is not None
    assert cell.source_dataset.classes is not None and cell.dataset.classes is not None
    assert set(cell.source_dataset.classes).isdisjoint(cell.dataset.classes)
