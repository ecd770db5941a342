"""Readers of packages: used like the built-in ones, and everything they give is looked at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.study.packages import Packages, packages_in
from tracker.study.errors import DataError, DataMissing, TrackerError, UsageError
from tracker.study.home import Home
from tracker.study.recipe import DatasetSpec
from tracker.vision.datasets import BUILT_IN, describe, fetch_dataset, open_dataset, packed_folders, ready_made

CODE = """
import numpy as np
from tracker.study.errors import DataError
from tracker.vision.readers.raw import Facts, RawSet, RawSplit, Reader, folder_path, held_out, split_from_arrays

VERSION = 0

def blobs(spec, count=12):
    images = np.random.default_rng(VERSION).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
    labels = np.arange(count) % 3
    return images, labels

class Blobs(Reader):
    def facts(self, spec):
        return Facts(9, 3, 3, (spec.channels or 1, spec.image_size or 8, spec.image_size or 8))

    def read(self, name, spec, raw, progress):
        images, labels = blobs(spec)
        test = held_out(labels, spec.test_fraction or 0.25, spec.split_seed, ("a", "b", "c"))
        train, test = (split_from_arrays(images[some], labels[some], spec) for some in (~test, test))
        return RawSet(train, test, ("a", "b", "c"))

class Lines(Blobs):
    takes = ("path", "classes", "test_fraction", "split_seed")
    needs = ("path",)

    def read(self, name, spec, raw, progress):
        values = np.loadtxt(folder_path(spec), dtype=int, ndmin=1)
        images = np.zeros((len(values), 1, 8, 8), dtype=np.uint8) + values[:, None, None, None].astype(np.uint8)
        split = split_from_arrays(images, np.arange(len(values)) % 2, spec)
        return RawSet(split, split, tuple(spec.classes or ("even", "odd")))

class Picky(Blobs):
    takes = "path"

class Closed(Reader):
    def read(self, name, spec, raw, progress):
        raise DataError("closed on Sundays", "come on Monday")

class Falls(Reader):
    def read(self, name, spec, raw, progress):
        raise KeyError("pixels")

class Listing(Blobs):
    def origin(self, name, spec):
        return {"set": {1, 2}}

class Given(Reader):
    def read(self, name, spec, raw, progress):
        return GIVEN()

blobs_instance = Blobs()
not_a_reader = 5
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    """A place for packages, with a kind in it that needs nothing and one that needs a path."""
    with packages_in(tmp_path / "site", monkeypatch) as found:
        found.add("own", {"datasets": {"blobs": "own:Blobs", "lines": "own:Lines"}}, CODE)
        yield found


def test_a_kind_is_a_dataset_by_its_name(packages: Packages, home: Home) -> None:
    """Class or instance, it is described, packed and opened like the digits; a kind that needs a key is not listed."""
    packages.add("second", {"datasets": {"instance": "own:blobs_instance"}})
    assert list(ready_made()) == [*BUILT_IN, "blobs", "instance"]
    for name in ("blobs", "instance"):
        spec = ready_made()[name]
        before = describe(name, spec, home)
        fetch_dataset(name, home)
        found = open_dataset(name, spec, home)
        after = describe(name, spec, home)
        assert (before.state, after.state, before.shape, before.train) == ("raw", "ready", after.shape, after.train)
        assert (len(found.train), len(found.test), found.classes) == (9, 3, ("a", "b", "c"))
    again = DatasetSpec(kind="blobs", image_size=16, channels=3)
    assert open_dataset("blobs", again, home).train.images.shape == (9, 3, 16, 16)
    assert len(packed_folders(home)) == 3


def test_another_version_of_the_package_is_read_again(packages: Packages, home: Home) -> None:
    """Its images may be others; if they are not, the fingerprint is the same."""
    spec = DatasetSpec(kind="blobs")
    first = open_dataset("blobs", spec, home).fingerprint
    packages.add("own", {"datasets": {"blobs": "own:Blobs"}}, CODE, version="1.1")
    assert describe("blobs", spec, home).state == "raw"
    assert open_dataset("blobs", spec, home).fingerprint == first
    packages.add("own", {"datasets": {"blobs": "own:Blobs"}}, CODE.replace("VERSION = 0", "VERSION = 1"), "2.0")
    assert open_dataset("blobs", spec, home).fingerprint != first
    assert len(packed_folders(home)) == 1


def test_a_changed_file_is_read_again(packages: Packages, home: Home, tmp_path: Path) -> None:
    """What lies at `path` is looked at for the reader; where it lies is no part of the identity."""
    file = tmp_path / "lines.txt"
    file.write_text("1 2\n3 4\n".replace(" ", "\n"))
    spec = DatasetSpec(kind="lines", path=str(file))
    first = open_dataset("mine", spec, home)
    assert describe("mine", spec, home).state == "ready" and "path" not in spec.identity()
    file.write_text("1\n2\n3\n5\n")
    os.utime(file, ns=(1, 1))
    assert describe("mine", spec, home).state == "raw"
    assert open_dataset("mine", spec, home).fingerprint != first.fingerprint
    file.unlink()
    assert describe("mine", spec, home).state == "ready"  # packed from there, and whole
    gone = DatasetSpec(kind="lines", path=str(tmp_path / "gone"))
    assert describe("new", gone, home).state == "missing"
    with pytest.raises(DataMissing, match=r"nothing at .*gone(.|\n)*--set datasets\.new\.path=PATH"):
        open_dataset("new", gone, home)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": "blobs", "path": "x"}, r"`path` means nothing to dataset kind 'blobs' of package own 1\.0"),
        ({"kind": "blobs", "test_fraction": 0.5}, r"`test_fraction` means nothing.*(.|\n)*channels, image_size$"),
        ({"kind": "blobs", "split_seed": 5}, "`split_seed` means nothing"),
        ({"kind": "lines"}, r"needs `path`(.|\n)*kind: lines, path: "),
    ],
)
def test_keys_are_those_the_reader_takes(packages: Packages, home: Home, spec: dict[str, object], message: str) -> None:
    """A key that a reader would not look at is refused, and so is the lack of one it needs."""
    wrong = DatasetSpec(**spec)  # type: ignore[arg-type]
    for attempt in (describe, open_dataset):
        with pytest.raises(UsageError, match=message):
            attempt("mine", wrong, home)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("own:Picky", "`takes` is 'path', not a tuple"),
        ("own:not_a_reader", "is int, not a tracker"),
        ("own:Falls", r"cannot read dataset mine: KeyError: 'pixels' \(.*own\.py:\d+\)"),
        ("own:Closed", "closed on Sundays"),
        ("own:Listing", "where its images come from: TypeError: .*set is not JSON"),
        ("own:missing", "cannot be imported"),
        ("own:RawSplit", "cannot be made without arguments: TypeError"),
    ],
)
def test_a_reader_that_does_not_work_is_blamed(packages: Packages, home: Home, target: str, message: str) -> None:
    """Its own words are kept, anything else names package and entry point; other datasets are not harmed."""
    packages.add("broken", {"datasets": {"bad": target}})
    with pytest.raises(TrackerError, match=message):
        open_dataset("mine", DatasetSpec(kind="bad"), home)
    assert describe("bad", ready_made()["bad"], home).state in ("damaged", "raw")
    assert describe("blobs", ready_made()["blobs"], home).state == "raw"
    assert packed_folders(home) == []


GOOD = {
    "labels": "np.arange(4) % 2",
    "shape": "(1, 8, 8)",
    "block": "np.zeros((4, 1, 8, 8), np.uint8)",
    "classes": "('a', 'b')",
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": "np.arange(4) / 2"}, r"labels are float64 \(4,\), not whole numbers"),
        ({"labels": "np.zeros((4, 1), int)"}, r"labels are int64 \(4, 1\)"),
        ({"labels": "np.arange(4)"}, "train: labels are 0 to 3, and there are 2 classes"),
        ({"labels": "np.arange(4) - 1"}, "labels are -1 to 2"),
        ({"labels": "np.arange(3) % 2"}, "more images came for 3 labels"),
        ({"labels": "np.arange(5) % 2"}, "4 images came for 5 labels"),
        ({"labels": "np.zeros(0, int)", "block": "np.zeros((0, 1, 8, 8), np.uint8)"}, "has no train images"),
        ({"block": "np.zeros((4, 1, 8, 8))"}, r"a block is float64 \(4, 1, 8, 8\), not uint8 \(n, 1, 8, 8\)"),
        ({"block": "np.zeros((4, 8, 8), np.uint8)"}, r"a block is uint8 \(4, 8, 8\)"),
        ({"block": "[1, 2]"}, "a block is list"),
        ({"shape": "(1, 8, 9)"}, "not 1 or 3 channels of a square"),
        ({"shape": "(2, 8, 8)"}, "not 1 or 3 channels"),
        ({"shape": "(8, 8)"}, r"shape is \(8, 8\), not \(C, H, W\)"),
        ({"classes": "('a',)"}, "not two or more different ones"),
        ({"classes": "['a', 'b']"}, "not a tuple of names"),
        ({"classes": "('a', 'a')"}, "not two or more different ones"),
        ({"classes": "(1, 2)"}, "not a tuple of names"),
    ],
)
def test_what_a_reader_gives_is_looked_at(packages: Packages, home: Home, wrong: dict[str, str], message: str) -> None:
    """Wrong labels, shapes, types or counts are an error that names the package, and nothing is packed."""
    given = {**GOOD, **wrong}
    split = f"RawSplit({given['labels']}, {given['shape']}, lambda: [{given['block']}])"
    code = CODE.replace("GIVEN()", f"RawSet({split}, {split}, {given['classes']})")
    packages.add("given", {"datasets": {"given": "given:Given"}}, code)
    with pytest.raises(DataError, match=message):
        open_dataset("mine", DatasetSpec(kind="given"), home)
    assert packed_folders(home) == []


def test_what_is_asked_for_is_what_comes(packages: Packages, home: Home, tmp_path: Path) -> None:
    """A reader that does not heed image_size, channels or classes would be a silent no-op."""
    split = f"RawSplit({GOOD['labels']}, {GOOD['shape']}, lambda: [{GOOD['block']}])"
    code = CODE.replace("GIVEN()", f"RawSet({split}, {split}, ('a', 'b'))").replace(
        "class Given(Reader):", "class Given(Reader):\n    takes = ('classes',)\n"
    )
    packages.add("given", {"datasets": {"given": "given:Given"}}, code)
    assert np.array_equal(open_dataset("m", DatasetSpec(kind="given"), home).train.labels, [0, 1, 0, 1])
    for keys, message in (
        ({"image_size": 16}, "image_size is 8 where 16 was asked for"),
        ({"channels": 3}, "channels is 1 where 3 was asked for"),
        ({"classes": ("b", "a")}, r"classes are \('a', 'b'\) where \('b', 'a'\) were asked for"),
    ):
        with pytest.raises(DataError, match=message):
            open_dataset("mine", DatasetSpec(kind="given", **keys), home)  # type: ignore[arg-type]


def test_no_package_decides_what_a_built_in_kind_is(packages: Packages, home: Home) -> None:
    """The digits stay the digits, and that another claims the name is told where it is used."""
    packages.add("thief", {"datasets": {"digits": "own:Blobs"}})
    with pytest.raises(TrackerError, match=r"'digits' is claimed by norm-tracker itself and by package thief 1\.0"):
        open_dataset("digits", BUILT_IN["digits"], home)
    assert describe("digits", BUILT_IN["digits"], home).state == "damaged"
