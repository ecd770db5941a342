"""A dataset is found, packed once, noticed when it changes, and missed with the command that brings it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.vision.raw_files import DOWNLOADED, split_folder, write_raw
from tracker.study.errors import DataDamaged, DataMissing, TrackerError
from tracker.study.home import Home
from tracker.study.recipe import DatasetSpec
from tracker.study.study import Study
from tracker.vision.datasets import (
    BUILT_IN,
    datasets_of,
    describe,
    open_dataset,
    packed_folder,
    packed_folders,
    raw_folder,
)
from tracker.vision.progress import Step

DIGITS = BUILT_IN["digits"]


def folder_spec(path: Path) -> DatasetSpec:
    """Return the spec of a folder of images."""
    return DatasetSpec(kind="folder", path=str(path))


@pytest.mark.parametrize(
    ("name", "size"), [("cifar10", "170"), ("cifar100", "169"), ("svhn", "246"), ("tiny-imagenet-200", "248")]
)
def test_a_missing_dataset_names_size_and_command(name: str, size: str, home: Home) -> None:
    """What is not here says how large it is and which command gets it, and what it will be."""
    with pytest.raises(DataMissing, match=f"dataset {name} is not on this machine \\({size} MB") as caught:
        open_dataset(name, BUILT_IN[name], home)
    assert caught.value.cure == f"tracker data fetch {name}"
    state = describe(name, BUILT_IN[name], home)
    assert (state.state, state.cure) == ("missing", caught.value.cure)
    assert state.train and state.test and state.classes and state.shape and state.bytes


def test_a_missing_dataset_of_another_name_is_fetched_by_its_kind(home: Home) -> None:
    """The cure of a study's own variant is a command that works without the study."""
    spec = DatasetSpec(kind="svhn", image_size=16, channels=1)
    with pytest.raises(DataMissing, match="dataset small ") as caught:
        open_dataset("small", spec, home)
    assert caught.value.cure == "tracker data fetch svhn"
    assert describe("small", spec, home).shape == (1, 16, 16)


@pytest.mark.parametrize("name", DOWNLOADED)
def test_raw_files_are_packed_once(name: str, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raw files are read at first use; afterwards the packed form alone serves."""
    raw = raw_folder(name, home)
    write_raw(name, raw, monkeypatch)
    assert describe(name, BUILT_IN[name], home).state == "raw"
    found = open_dataset(name, BUILT_IN[name], home)
    assert len(found.train) >= 12 and found.train.images.dtype == np.uint8 and found.name == name
    for path in raw.rglob("*"):
        if path.is_file():
            path.unlink()
    again = open_dataset(name, BUILT_IN[name], home, verify=True)
    assert again.fingerprint == found.fingerprint and again.statistics == found.statistics
    state = describe(name, BUILT_IN[name], home)
    assert (state.state, state.train, state.fingerprint) == ("ready", len(found.train), found.fingerprint)
    assert state.where == packed_folder(name, BUILT_IN[name], home)


@pytest.mark.parametrize("name", DOWNLOADED)
def test_a_damaged_raw_file_is_named(name: str, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A raw file whose checksum is not the published one is never read (CIFAR's would run code)."""
    raw = raw_folder(name, home)
    write_raw(name, raw, monkeypatch)
    path = max((path for path in raw.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataDamaged, match="is damaged") as caught:
        open_dataset(name, BUILT_IN[name], home)
    assert str(path) in caught.value.message and caught.value.cure == f"tracker data fetch {name}"
    assert packed_folders(home) == []


def test_digits_need_nothing(home: Home) -> None:
    """The digits are here at once, and what is said of them before packing holds after it."""
    before = describe("digits", DIGITS, home)
    found = open_dataset("digits", DIGITS, home)
    after = describe("digits", DIGITS, home)
    assert (before.state, after.state, before.where) == ("raw", "ready", None)
    assert (before.train, before.test, before.classes, before.shape) == (
        after.train,
        after.test,
        after.classes,
        after.shape,
    )
    assert (found.channels, found.image_size, len(found.classes)) == (1, 8, 10)


def test_every_content_has_its_own_folder(home: Home) -> None:
    """Another spec, or another name, never opens what was packed for the first."""
    specs = [DIGITS, DatasetSpec(kind="digits", image_size=16), DatasetSpec(kind="digits", split_seed=1)]
    prints = {open_dataset("digits", spec, home).fingerprint for spec in specs}
    assert len(prints) == 3
    assert open_dataset("other", DIGITS, home).name == "other"
    assert len(packed_folders(home)) == 4 and len(packed_folders(home, ["digits"])) == 3
    with pytest.raises(DataMissing, match="nothing is not packed"):
        packed_folders(home, ["nothing"])


@pytest.mark.parametrize("change", ["add", "remove", "touch", "move", "rename"])
def test_a_changed_folder_is_packed_again(tmp_path: Path, home: Home, change: str) -> None:
    """A file more, fewer, newer, or in another class: the next opening sees it."""
    root = tmp_path / "images"
    split_folder(root)
    spec = folder_spec(root)
    first = open_dataset("mine", spec, home)
    image = root / "train" / "a" / "1.png"
    if change == "add":
        (root / "train" / "a" / "new.png").write_bytes(image.read_bytes())
    elif change == "remove":
        image.unlink()
    elif change == "touch":
        (root / "train" / "a" / "1.png").write_bytes((root / "train" / "b" / "1.png").read_bytes())
        os.utime(image, ns=(1, 1))
    elif change == "move":
        image.rename(root / "train" / "b" / "3.png")
    else:
        (root / "train" / "a").rename(root / "train" / "c")
        (root / "test" / "a").rename(root / "test" / "c")
    assert describe("mine", spec, home).state == "raw"
    second = open_dataset("mine", spec, home)
    assert (second.fingerprint, second.classes) != (first.fingerprint, first.classes)
    assert len(packed_folders(home)) == 1


def test_an_unchanged_folder_is_not_packed_again(tmp_path: Path, home: Home) -> None:
    """Opening twice decodes once, also by another way to the same place."""
    split_folder(tmp_path / "images")
    (tmp_path / "link").symlink_to(tmp_path / "images")
    steps: list[Step] = []
    open_dataset("mine", folder_spec(tmp_path / "images"), home, progress=steps.append)
    assert {step.task for step in steps} == {"look through mine", "pack mine train", "pack mine test"}
    steps.clear()
    open_dataset("mine", folder_spec(tmp_path / "link"), home, progress=steps.append)
    assert steps == []


def test_a_folder_that_has_gone_stays_usable(tmp_path: Path, home: Home) -> None:
    """Packed images outlive their folder; another path that is not there is still an error."""
    split_folder(tmp_path / "images")
    first = open_dataset("mine", folder_spec(tmp_path / "images"), home)
    (tmp_path / "images").rename(tmp_path / "moved")
    assert open_dataset("mine", folder_spec(tmp_path / "images"), home).fingerprint == first.fingerprint
    with pytest.raises(DataMissing, match="typo: there is no such folder") as caught:
        open_dataset("mine", folder_spec(tmp_path / "typo"), home)
    assert f"--set datasets.mine.path={tmp_path / 'images'}" in str(caught.value.cure)
    assert describe("mine", folder_spec(tmp_path / "typo"), home).state == "missing"
    assert open_dataset("mine", folder_spec(tmp_path / "moved"), home).fingerprint == first.fingerprint


def test_a_folder_that_cannot_be_used_says_why(tmp_path: Path, home: Home) -> None:
    """Describing a folder gives the reason that opening it would."""
    (tmp_path / "images" / "train").mkdir(parents=True)
    state = describe("mine", folder_spec(tmp_path / "images"), home)
    assert state.state == "damaged" and "no test/" in str(state.problem)


def test_damage_to_the_packed_form_is_described_and_raised(home: Home) -> None:
    """A truncated array is told by `describe`, and stops `open_dataset`; a changed one stops it with `verify`."""
    open_dataset("digits", DIGITS, home)
    path = packed_folder("digits", DIGITS, home) / "train_images.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    open_dataset("digits", DIGITS, home)
    with pytest.raises(DataDamaged, match="altered"):
        open_dataset("digits", DIGITS, home, verify=True)
    path.write_bytes(content[:-1])
    with pytest.raises(DataDamaged, match="instead of"):
        open_dataset("digits", DIGITS, home)
    assert describe("digits", DIGITS, home).state == "damaged"


def test_several_processes_pack_once(tmp_path: Path, home: Home) -> None:
    """Of processes that open a dataset at the same time one decodes it, and all get the same."""
    split_folder(tmp_path / "images", train=300)
    program = f"""
from pathlib import Path
from tracker.study.home import Home
from tracker.study.recipe import DatasetSpec
from tracker.vision.datasets import open_dataset
tasks = []
spec = DatasetSpec(kind="folder", path={str(tmp_path / "images")!r})
found = open_dataset("mine", spec, Home(Path({str(home.root)!r})), progress=lambda step: tasks.append(step.task))
print(found.fingerprint, sum(task == "pack mine test" for task in tasks))
"""
    processes = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [process.communicate(timeout=60)[0].split() for process in processes]
    assert len({fingerprint for fingerprint, _ in answers}) == 1
    assert sorted(packed for _, packed in answers) == ["0", "0", "1"]


def test_a_home_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A file in the place of the data folder is named."""
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(TrackerError, match="cannot be created"):
        open_dataset("digits", DIGITS, Home(tmp_path))


def test_datasets_of_a_study() -> None:
    """A study's datasets are those its cells use, and those their sources are trained on."""
    study = Study(
        name="mine",
        question="which?",
        recipe={"model": "resnet18", "source": "zeros", "normalization": "pretrain"},
        axes={"dataset": ("cifar10", "few")},
        datasets={"few": DatasetSpec(kind="digits", classes=(8, 9)), "unused": DIGITS},
        sources={"zeros": {"dataset": "digits"}},
    )
    assert datasets_of(study.cells) == {
        "cifar10": BUILT_IN["cifar10"],
        "few": study.datasets["few"],
        "digits": DIGITS,
    }


def test_manifest_says_where_images_come_from(tmp_path: Path, home: Home) -> None:
    """The manifest of a folder names its path, its number of files and what was passed over."""
    split_folder(tmp_path / "images")
    (tmp_path / "images" / "train" / "a" / "notes.txt").write_text("none")
    spec = folder_spec(tmp_path / "images")
    open_dataset("mine", spec, home)
    manifest = json.loads((packed_folder("mine", spec, home) / "manifest.json").read_text())
    assert manifest["origin"]["path"] == str(tmp_path / "images") and manifest["origin"]["files"] == 10
    assert manifest["kind"] == "folder" and manifest["identity"] == {"kind": "folder"} and manifest["skipped"] == 1
    assert set(manifest["files"]) == {
        f"{split}_{what}.npy" for split in ("train", "test") for what in ("images", "labels")
    }
    assert describe("mine", spec, home).skipped == 1
