"""A look through a folder counts and measures what will be trained on, and lists what cannot be."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.vision.inspection.folders import (
    HALF,
    SIDE,
    encoded,
    found,
    kinds,
    photograph,
    pixels,
    put,
    write_classes,
    write_unreadable,
)
from tracker.study.errors import DataError, DataMissing
from tracker.study.home import Home
from tracker.study.recipe import DatasetSpec
from tracker.vision.datasets import open_dataset
from tracker.vision.inspection.evidence import suggested_image_size
from tracker.vision.inspection.findings import SEVERITIES, Inspection
from tracker.vision.inspection.inspecting import inspect_folder
from tracker.vision.progress import Step, silent
from tracker.vision.readers import reader_of


def test_sizes_are_as_seen(odd: Inspection) -> None:
    """A picture stored on its side counts upright, in every format; the size suggested is the median's."""
    assert odd.sizes is not None
    assert (odd.sizes.smallest, odd.sizes.median, odd.sizes.largest) == ((16, 48), (32, 32), (300, 300))
    assert not odd.sizes.square and odd.image_size == SIDE
    assert odd.formats["PNG"] == 72 and odd.formats["MPO"] == 1 and odd.modes["CMYK"] == 1


def test_what_is_inspected_is_what_is_packed(odd: Inspection, home: Home) -> None:
    """Counts, channels and statistics are those of the dataset that the suggested spec packs, to the last bit."""
    images = open_dataset("odd", odd.spec, home)
    assert (len(images.train), len(images.test)) == (odd.train, odd.test)
    assert images.statistics == odd.statistics and images.image_size == odd.image_size
    assert {count.name for count in odd.classes} == set(images.classes)


def test_all_of_it_is_json(odd: Inspection) -> None:
    """Nothing is lost on the way to --format json, and findings come with the worst first."""
    values = json.loads(json.dumps(odd.plain(), allow_nan=False))
    assert values["train"] == odd.train and len(values["findings"]) == len(odd.findings) > 10
    assert values["spec"]["image_size"] == odd.spec.image_size
    ranks = [SEVERITIES.index(finding.severity) for finding in odd.findings]
    assert ranks == sorted(ranks)


def test_unreadable_files_are_listed_with_a_reason(tmp_path: Path) -> None:
    """Whatever is no image is named, printably, and left out; the reader leaves out the same."""
    write_classes(tmp_path, {"a": 4, "b": 4})
    expected = write_unreadable(tmp_path)
    os.mkfifo(tmp_path / "a" / "pipe.png")
    put(tmp_path, "b/phone.heic", b"x")
    inspection = inspect_folder(tmp_path)
    reasons = dict(inspection.unreadable)
    assert set(reasons) == set(expected) and len(expected) == 13
    for name, reason in expected.items():
        assert reason in reasons[name], name
    assert found(inspection, "unreadable").count == 13 and inspection.spec.unreadable == "skip"
    assert found(inspection, "not-read").examples == ("b/phone.heic",)
    assert inspection.skipped == (
        ("a/pipe.png", "a pipe, a socket or a device"),
        ("b/phone.heic", ".heic is not read"),
    )
    assert found(inspection, "skipped").count == 1
    raw = reader_of("folder").read("mine", inspection.spec, tmp_path, silent)
    assert (len(raw.train), len(raw.test)) == (inspection.train, inspection.test) == (6, 2)
    assert str(inspection.plain()).isprintable()


def test_a_plain_folder_has_nothing_to_warn_of(tmp_path: Path) -> None:
    """Enough square photographs of one size, split by the user, give no finding at all but that tests are few."""
    write_classes(tmp_path, {"train/a": 25, "train/b": 25, "test/a": 5, "test/b": 5}, photograph)
    steps: list[Step] = []
    inspection = inspect_folder(tmp_path, progress=steps.append)
    assert kinds(inspection) == {"few-test-images"} and not inspection.errors
    assert (inspection.split, inspection.train, inspection.test) == ("own", 50, 10)
    assert inspection.spec == DatasetSpec(kind="folder", path=str(tmp_path))
    assert "15.8 points" in found(inspection, "few-test-images").sentence
    assert [step.done for step in steps if step.done == step.total] == [60, 60]


def test_what_the_spec_asks_for_holds(tmp_path: Path) -> None:
    """Classes, channels, size and split are the spec's, so the look is at what will be trained on."""
    write_classes(tmp_path, {"a": 10, "b": 10, "c": 10})
    put(tmp_path, "c/cut.png", encoded(pixels(3))[:99])
    asked = DatasetSpec(kind="folder", path="x", classes=("b", "a"), channels=1, image_size=16, test_fraction=0.5)
    inspection = inspect_folder(tmp_path, spec=asked)
    assert [(count.name, count.train, count.test, count.images) for count in inspection.classes] == [
        ("b", 5, 5, 10),
        ("a", 5, 5, 10),
    ]
    assert (inspection.channels, inspection.image_size, inspection.unreadable) == (1, 16, ())
    assert inspection.spec == asked.model_copy(update={"path": str(tmp_path)})


def test_a_folder_without_a_readable_image(tmp_path: Path) -> None:
    """Nothing to look at is told, and nothing divides by zero."""
    put(tmp_path, "a/0.png", b"")
    put(tmp_path, "b/0.png", b"")
    inspection = inspect_folder(tmp_path, source=HALF)
    assert inspection.sizes is None and inspection.statistics is None and inspection.shift is None
    assert found(inspection, "class-missing").count == 2


@pytest.mark.parametrize("name", ["missing", "file", "loop", "zero\0byte", "x" * 300])
def test_a_folder_that_is_none(name: str, tmp_path: Path) -> None:
    """A path that is no folder is refused by name, with a cure that is not about study files."""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError, match=re.escape(name.replace("\0", r"\x00"))) as caught:
        inspect_folder(tmp_path / name)
    assert "--set" not in str(caught.value)
    assert name == "x" * 300 or isinstance(caught.value, DataMissing)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(32, 32)] * 3, 32),
        ([(8, 8)] * 3, 32),
        ([(4000, 3000)] * 3, 64),
        ([(48, 90), (48, 48), (9, 9)], 48),
        ([(28, 28)], 32),
    ],
)
def test_the_size_suggested(sizes: list[tuple[int, int]], expected: int) -> None:
    """The median's shorter side, neither below 32 nor above 64."""
    assert suggested_image_size(sizes) == expected


def test_large_images_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a limit only one image is in memory; the outcome is the same."""
    write_classes(tmp_path, {"a": 4, "b": 4})
    before = inspect_folder(tmp_path)
    monkeypatch.setattr("tracker.vision.readers.pixels.LARGE_PIXELS", 100)
    assert inspect_folder(tmp_path) == before


def test_pil_has_every_format_that_is_read() -> None:
    """The formats promised can be decoded with the PIL that is installed."""
    Image.init()
    assert {"JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF"} <= set(Image.OPEN)
