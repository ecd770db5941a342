"""A folder's bad files are refused by name, or left out if the study says so; never a traceback or a wrong label."""

from __future__ import annotations

import gc
import os
import re
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.vision.inspection.folders import SIDE, encoded, pixels, put, turned, write_classes, write_unreadable
from tracker.study.errors import DataDamaged, DataError
from tracker.study.home import Home
from tracker.study.printing import printable
from tracker.study.recipe import DatasetSpec
from tracker.vision.datasets import describe, open_dataset
from tracker.vision.progress import silent
from tracker.vision.readers import reader_of
from tracker.vision.readers.decoding import Unreadable, attempt_each
from tracker.vision.readers.pixels import decode, open_image, size_and_gray
from tracker.vision.readers.raw import RawSet
from tracker.vision.readers.scanning import scan_folder

FILES = {
    (format_, number): encoded(pixels(number, side=12 + 4 * number), format_)
    for format_ in ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")
    for number in range(2)
}


def read(root: Path, **keys: object) -> RawSet:
    """Read a folder as packing does."""
    spec = DatasetSpec(kind="folder", path=str(root), **keys)  # type: ignore[arg-type]
    return reader_of("folder").read("mine", spec, root, silent)


def stored(raw: RawSet) -> list[np.ndarray]:
    """Decode all images of both splits."""
    return [np.concatenate(list(split.blocks())) for split in (raw.train, raw.test)]


def test_unreadable_files_are_refused_with_the_way_to_skip_them(tmp_path: Path) -> None:
    """As a rule a file that cannot be read stops everything; the message is printable and names the key to set."""
    write_classes(tmp_path, {"a": 4, "b": 4})
    write_unreadable(tmp_path)
    with pytest.raises(DataDamaged, match="10 of 21 images cannot be read") as caught:
        read(tmp_path)
    assert "--set datasets.mine.unreadable=skip" in str(caught.value.cure)
    assert all(line.isprintable() for line in caught.value.message.splitlines())
    assert len(caught.value.message.splitlines()) == 11


def test_unreadable_files_are_skipped(tmp_path: Path) -> None:
    """With `unreadable: skip` the folder reads as if they were not there, split included, and they are counted."""
    write_classes(tmp_path, {"a": 10, "b": 10})
    clean = read(tmp_path)
    expected = write_unreadable(tmp_path)
    found = read(tmp_path, unreadable="skip")
    assert found.skipped == len(expected) == 13 and clean.skipped == 0
    for one, other in zip(stored(found), stored(clean), strict=True):
        assert np.array_equal(one, other)
    assert np.array_equal(found.train.labels, clean.train.labels)


def test_a_file_that_is_cut_short_decides_nothing(tmp_path: Path) -> None:
    """A file whose header alone is whole gives the dataset neither its size nor its channels."""
    write_classes(tmp_path, {"a": 4, "b": 4}, lambda number: pixels(number)[..., 0])
    put(tmp_path, "a/0.png", encoded(pixels(1, side=60))[:-1500])
    found = read(tmp_path, unreadable="skip")
    assert found.train.shape == (1, SIDE, SIDE) and found.skipped == 1


def test_a_class_without_readable_images_is_an_error(tmp_path: Path) -> None:
    """A class is never lost in silence: its folder is named, and why its first file cannot be read."""
    write_classes(tmp_path, {"train/a": 3, "train/b": 3, "test/a": 2, "test/b": 2})
    for path in (tmp_path / "test" / "b").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"test/b: none of its 2 images can be read; test/b/\S+: is empty"):
        read(tmp_path, unreadable="skip")


def test_skipped_files_are_told_of_where_datasets_are_listed(home: Home, tmp_path: Path) -> None:
    """The count is kept with the packed images, and the folder is not taken for a changed one."""
    root = tmp_path / "images"
    write_classes(root, {"a": 4, "b": 4})
    put(root, "a/empty.png", b"")
    spec = DatasetSpec(kind="folder", path=str(root), unreadable="skip")
    images = open_dataset("mine", spec, home)
    state = describe("mine", spec, home)
    assert (state.state, state.skipped, state.train, state.fingerprint) == ("ready", 1, 6, images.fingerprint)


@pytest.mark.parametrize("names", [("Train", "Test"), ("training", "validation"), ("TEST", "Train", "extra")])
def test_splits_of_other_names_are_not_taken_for_classes(names: tuple[str, ...], tmp_path: Path) -> None:
    """Folders that are called like splits are no classes: what lies in them would get wrong labels."""
    write_classes(tmp_path, {f"{name}/{label}": 2 for name in names for label in "ab"})
    with pytest.raises(DataError, match="look like splits"):
        read(tmp_path)


def test_classes_may_be_called_like_a_split(tmp_path: Path) -> None:
    """One such name among others is a class."""
    write_classes(tmp_path, {"Train": 2, "Car": 2, "val": 2})
    assert read(tmp_path).classes == ("Car", "Train", "val")


@pytest.mark.parametrize("name", ["odd\nname", "\x1b[31mred", os.fsdecode(b"\xff")])
def test_a_class_name_that_cannot_be_shown_is_refused(name: str, tmp_path: Path) -> None:
    """A class's name goes into every table, so it must be printable."""
    write_classes(tmp_path, {"a": 2, name: 2})
    with pytest.raises(DataError, match="control characters in its name, or is not UTF-8") as caught:
        read(tmp_path)
    assert caught.value.message.isprintable()


def test_a_class_spelt_otherwise_in_test_is_explained(tmp_path: Path) -> None:
    """Two names that look the same on a screen are said to differ, and how."""
    write_classes(tmp_path, {"train/é": 2, "train/b": 2, "test/e\u0301": 2, "test/b": 2})
    with pytest.raises(DataError, match="spelt in another case or Unicode form"):
        read(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["sp ace.png", "q'uo\"te.png", "a\nb.png", b"\xff.png", "\u202egnp.png", "é.png", "n" * 250 + ".png", "猫.png"],
)
def test_any_file_name_is_read(name: str | bytes, tmp_path: Path) -> None:
    """A file's name is never shown where it does harm, and never keeps it from being read."""
    write_classes(tmp_path, {"a": 2, "b": 2})
    put(tmp_path, b"a/" + os.fsencode(name), encoded(pixels(77)))
    images, labels = stored(found := read(tmp_path, unreadable="skip")), (found.train.labels, found.test.labels)
    (label,) = [
        label
        for split, split_labels in zip(images, labels, strict=True)
        for image, label in zip(split, split_labels, strict=True)
        if np.array_equal(image.transpose(1, 2, 0), pixels(77))
    ]
    assert label == 0


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_size_of_a_turned_picture_is_as_decoded(format_: str, tmp_path: Path) -> None:
    """What the header says of a picture on its side is what decoding gives."""
    path = str(put(tmp_path, f"turned.{format_}", turned(pixels(1, side=20, height=12), format_)))
    (width, height), gray = size_and_gray(path)
    assert (width, height) == (12, 20) and not gray
    assert decode(path, 3, None).shape == (3, height, width)


def test_a_damaged_set_of_exif_data_is_no_traceback(tmp_path: Path) -> None:
    """Nonsense where the rotation would stand is read as none, or is a reason."""
    nonsense = [b"II*\0\xff\xff\xff\xff", b"MM", b"II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 30]
    for number, exif in enumerate(b"Exif\0\0" + data for data in nonsense):
        path = put(tmp_path, f"{number}.jpg", encoded(pixels(1, height=20), "JPEG", exif=exif))
        ((found,),) = attempt_each([str(path)], lambda name: decode(name, 3, None))
        assert isinstance(found, Unreadable) or found.shape == (3, 20, SIDE)


def test_a_refused_file_is_closed(tmp_path: Path) -> None:
    """Nothing stays open of a picture with too many pixels: a folder may have thousands."""
    size = struct.pack("<ii", 10_000, 10_000)
    header = b"BM" + bytes(8) + struct.pack("<II", 54, 40) + size + struct.pack("<HH", 1, 24) + bytes(24)
    path = put(tmp_path, "wide.bmp", header)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with pytest.raises(ValueError, match="has 100,000,000 pixels"):
            open_image(str(path))
        gc.collect()
    assert [warning.category for warning in told] == [Image.DecompressionBombWarning]  # no ResourceWarning


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(sorted(FILES)),
    st.integers(0, 400),
    st.binary(max_size=12),
    st.booleans(),
)
def test_any_bytes_give_an_image_or_a_reason(key: tuple[str, int], at: int, instead: bytes, cut: bool) -> None:
    """A damaged image file of any format is decoded to the shape its header says, or has a printable reason."""
    whole = FILES[key]
    at = at % len(whole)
    content = whole[:at] + instead + (b"" if cut else whole[at + len(instead) :])

    def look(_: str) -> tuple[tuple[int, int], np.ndarray]:
        return size_and_gray(content)[0], decode(content, 3, None)

    ((found,),) = attempt_each(["i"], look)
    if isinstance(found, Unreadable):
        assert found.reason and found.reason.isprintable()
    else:
        (width, height), image = found
        assert image.shape == (3, height, width) and image.dtype == np.uint8


@given(st.binary(max_size=200))
def test_bytes_that_are_no_image_are_never_one(content: bytes) -> None:
    """What has no format's signature is refused by name of the formats."""
    ((found,),) = attempt_each(["i"], lambda _: decode(b"text" + content, 3, None))
    assert isinstance(found, Unreadable) and "is no JPEG" in found.reason


@given(st.text(), st.binary(max_size=20))
def test_printable_text_is_printable(text: str, raw: bytes) -> None:
    """Nothing a terminal would obey is left, and what is harmless stays as it is."""
    for given_text in (text, os.fsdecode(raw)):
        shown = printable(given_text)
        shown.encode("utf-8")
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", shown)
        assert printable(shown) == shown
    assert printable("Ä 猫 👨‍👩‍👧 \\n") == "Ä 猫 👨‍👩‍👧 \\n"


def test_a_scan_gives_a_reason_for_each_thing_passed_over(tmp_path: Path) -> None:
    """What is not read is listed with why, beside the splits and inside them."""
    write_classes(tmp_path, {"train/a": 1, "train/b": 1, "test/a": 1, "test/b": 1, "val/a": 1})
    for name in (".hidden.png", "notes.txt", "README", "raw.DNG", "../loose.png", "../../.git"):
        put(tmp_path, f"train/a/{name}", b"")
    (tmp_path / "train" / "__MACOSX").mkdir()
    (tmp_path / "train" / "a" / "again").symlink_to(tmp_path / "train" / "a")
    tally = scan_folder("mine", tmp_path).tally
    assert {os.path.relpath(path, tmp_path): reason for path, reason in tally.passed_over} == {
        "val": "lies beside train/ and test/",
        ".git": "hidden",
        "train/__MACOSX": "left by an archiver",
        "train/loose.png": "lies outside the class folders",
        "train/a/.hidden.png": "hidden",
        "train/a/notes.txt": ".txt is no image",
        "train/a/README": "without an extension",
        "train/a/raw.DNG": ".dng is not read",
        "train/a/again": "a folder that was read already",
    }
    assert tally.skipped == 9
