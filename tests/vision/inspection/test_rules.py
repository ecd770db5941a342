"""Every rule finds what it is about, and lets pass what only looks like it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

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
)
from tracker.vision.inspection.findings import KINDS, Inspection
from tracker.vision.inspection.inspecting import inspect_folder

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.mark.parametrize(
    ("kind", "count", "examples"),
    [
        ("sixteen-bit", 2, ("a/sixteen.png", "a/twelve.png")),
        ("transparency", 1, ("a/clear.png",)),
        ("cmyk", 1, ("a/cmyk.jpg",)),
        ("palette", 2, ("a/frames-GIF.gif", "a/palette.png")),
        ("animation", 5, tuple(f"a/frames-{n}" for n in ("GIF.gif", "MPO.jpg", "PNG.png", "TIFF.tif", "WEBP.webp"))),
        ("rotation", 4, tuple(f"b/turned-{n}" for n in ("JPEG.jpg", "PNG.png", "TIFF.tif", "WEBP.webp"))),
        ("not-square", 4, tuple(f"b/turned-{n}" for n in ("JPEG.jpg", "PNG.png", "TIFF.tif", "WEBP.webp"))),
        ("small-images", 4, tuple(f"b/turned-{n}" for n in ("JPEG.jpg", "PNG.png", "TIFF.tif", "WEBP.webp"))),
        ("colour-profile", 1, ("b/profile.png",)),
        ("blank-images", 1, ("b/blank.png",)),
        ("nested-folders", 1, ("b/deeper/inside.png",)),
        ("some-gray", 2, ("a/twelve.png", "b/blank.png")),
        ("sizes-differ", 3, ()),
    ],
)
def test_each_odd_file_is_found_and_no_other(odd: Inspection, kind: str, count: int, examples: tuple[str, ...]) -> None:
    """A finding has exactly the files that are so, named relative to the folder."""
    finding = found(odd, kind)
    assert (finding.count, finding.examples) == (count, examples)


def test_bits_that_are_not_used_are_told(odd: Inspection) -> None:
    """12 bits in 16 come out nearly black, which is worth a warning, with the factor that mends it."""
    finding = found(odd, "sixteen-bit")
    assert finding.severity == "warning" and "needs 12" in finding.sentence and "by 16" in finding.cure


def test_exchanged_channels_are_suspected(tmp_path: Path) -> None:
    """Photographs are let pass, also if they are mostly sky; with red and blue exchanged they are not."""

    def exchanged(number: int) -> np.ndarray:
        return photograph(number)[..., ::-1]

    def sky(number: int) -> np.ndarray:
        return np.clip(photograph(number) + np.array([-30, 0, 40]), 0, 255).astype(np.uint8)

    for name, draw in (("right", photograph), ("sky", sky), ("exchanged", exchanged)):
        write_classes(tmp_path / name, {"a": 30, "b": 30}, draw)
        inspection = inspect_folder(tmp_path / name)
        assert inspection.statistics is not None
        red, _, blue = inspection.statistics.mean
        assert (blue > red) == (name != "right")
        assert ("channel-order" in kinds(inspection)) == (name == "exchanged"), name


def test_gray_stored_as_rgb(tmp_path: Path) -> None:
    """Gray RGB files are found where all are, and where they give a class away; true gray files need no word."""

    def gray(number: int) -> np.ndarray:
        return np.repeat(pixels(number)[..., :1], 3, axis=2)

    write_classes(tmp_path / "rgb", {"a": 12, "b": 12}, gray)
    assert found(inspect_folder(tmp_path / "rgb"), "gray-as-rgb").count == 24
    write_classes(tmp_path / "files", {"a": 12, "b": 12}, lambda number: pixels(number)[..., 0])
    inspection = inspect_folder(tmp_path / "files", source=HALF)
    assert inspection.channels == 1 and not kinds(inspection) & {"gray-as-rgb", "some-gray"}
    assert inspection.shift is not None and inspection.shift.channels == 3
    write_classes(tmp_path / "mixed/a", {".": 12}, gray)
    write_classes(tmp_path / "mixed/b", {".": 12}, first=50)
    finding = found(inspect_folder(tmp_path / "mixed"), "some-gray")
    assert finding.severity == "warning" and finding.count == 12 and "mostly of a" in finding.sentence


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (2, 6, {"dark", "low-contrast", "far-from-source"}),
        (0, 40, {"dark", "low-contrast", "far-from-source"}),
        (248, 255, {"bright", "low-contrast", "far-from-source"}),
        (124, 132, {"low-contrast", "far-from-source"}),
        (0, 255, set()),
    ],
)
def test_exposure_and_contrast(low: int, high: int, expected: set[str], tmp_path: Path) -> None:
    """Very dark, very bright and flat images are told of, in source SDs too; images over the whole range are not."""

    def draw(number: int) -> np.ndarray:
        return np.random.default_rng(number).integers(low, high, (SIDE, SIDE, 3), dtype=np.uint8)

    write_classes(tmp_path, {"a": 4, "b": 4}, draw)
    told = kinds(inspect_folder(tmp_path, source=HALF)) & {"dark", "bright", "low-contrast", "far-from-source"}
    assert told == expected


@pytest.mark.parametrize(("spread", "severity"), [(1, "error"), (2, "warning")])
def test_a_dead_channel(spread: int, severity: str, tmp_path: Path) -> None:
    """A constant channel cannot be z-scored, a nearly constant one should not; it is named by its colour."""

    def draw(number: int) -> np.ndarray:
        image = pixels(number)
        image[..., 2] = 9 + image[..., 2] % spread
        return image

    write_classes(tmp_path, {"a": 4, "b": 4}, draw)
    finding = found(inspect_folder(tmp_path), "constant-channel")
    assert (finding.severity, finding.count) == (severity, 1) and finding.examples[0].startswith("blue")


def test_equal_pictures_are_found_whatever_the_file(tmp_path: Path) -> None:
    """Copies are found by their pixels, in other formats too, and told apart by what they do."""
    write_classes(tmp_path, {"train/a": 3, "train/b": 3, "test/a": 2, "test/b": 2})
    put(tmp_path, "test/a/leak.bmp", encoded(pixels(0), "BMP"))
    put(tmp_path, "train/b/other.webp", encoded(pixels(1), "WEBP", lossless=True))
    put(tmp_path, "train/a/again.tif", encoded(pixels(2), "TIFF"))
    put(tmp_path, "train/a/lossy.jpg", encoded(pixels(2), "JPEG"))
    put(tmp_path, "train/b/gray.png", encoded(pixels(9)[..., 0]))
    put(tmp_path, "test/a/gray.png", encoded(np.repeat(pixels(9)[..., :1], 3, axis=2)))
    inspection = inspect_folder(tmp_path)
    assert [group.paths for group in inspection.duplicates] == [
        ("test/a/gray.png", "train/b/gray.png"),
        ("test/a/leak.bmp", "train/a/000.png"),
        ("train/a/001.png", "train/b/other.webp"),
        ("train/a/002.png", "train/a/again.tif"),
    ]
    told = [found(inspection, kind).count for kind in KINDS if kind.startswith("duplicates")]
    assert told == [2, 2, 1]


def test_classes_that_cannot_be_trained(tmp_path: Path) -> None:
    """What the reader would refuse is an error, each class named; small and uneven classes are warned of."""
    write_classes(tmp_path / "alone", {"many": 45, "few": 3, "One": 1, "one": 2, "none": 0, "odd\nname": 2})
    (tmp_path / "alone" / "none").mkdir()
    inspection = inspect_folder(tmp_path / "alone")
    assert {finding.kind for finding in inspection.errors} == {"class-missing", "class-too-small", "class-name"}
    assert found(inspection, "class-too-small").examples == ("One",)
    assert found(inspection, "class-missing").examples == ("none",)
    assert found(inspection, "class-name").examples == (r"odd\nname",)
    assert found(inspection, "class-names-alike").examples == ("One", "one")
    assert found(inspection, "small-class").count == 4 and "right in 85%" in found(inspection, "imbalance").sentence
    write_classes(tmp_path / "split", {"train/a": 2, "train/b": 2, "test/a": 2})
    assert found(inspect_folder(tmp_path / "split"), "class-missing").examples == ("b in test/",)
    write_classes(tmp_path / "pets", {"pets/cat": 2, "pets/dog": 2})
    assert "one class, pets" in found(inspect_folder(tmp_path / "pets"), "one-class").sentence


def test_a_folder_given_one_level_too_high(tmp_path: Path) -> None:
    """The same folders below each class are probably the classes."""
    write_classes(tmp_path, {"2023/cat": 2, "2023/dog": 2, "2024/cat": 2, "2024/dog": 2})
    finding = found(inspect_folder(tmp_path), "nested-folders")
    assert finding.severity == "warning" and finding.examples == ("cat", "dog") and finding.count == 8


def test_large_images_are_remarked_on(tmp_path: Path) -> None:
    """Images much larger than they are stored lose detail, and the remark says how large they are."""
    write_classes(tmp_path, {"a": 2, "b": 2}, lambda number: pixels(number, side=256))
    inspection = inspect_folder(tmp_path)
    assert inspection.spec.image_size == 64 and "256 pixels" in found(inspection, "large-images").sentence


def test_every_kind_is_documented() -> None:
    """docs/images.md has a row for each kind, and no other; each is found in a test."""
    page = (DOCS / "images.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (?:error|warning|note)", page, flags=re.MULTILINE)
    assert sorted(rows) == sorted(KINDS) and len(set(KINDS)) == len(KINDS) == 35
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert not [kind for kind in KINDS if f'"{kind}"' not in tests and not kind.startswith("duplicates")]
