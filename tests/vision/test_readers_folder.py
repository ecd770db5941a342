"""A folder of images is read as its owner sorted it, and what cannot be used of it is named."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.vision.raw_files import split_folder, write_folder
from tests.vision.reading import folder, pixels
from tracker.study.errors import DataDamaged, DataError, DataMissing
from tracker.vision.readers.decoding import NAMED
from tracker.vision.readers.pixels import decode
from tracker.vision.readers.raw import BLOCK


def test_folder_with_its_own_split(tmp_path: Path) -> None:
    """Classes are sorted by name, images by path; labels and pixels belong together."""
    split_folder(tmp_path, train=11, test=2, classes="ba")
    found = folder(tmp_path)
    assert found.classes == ("a", "b")
    assert found.train.labels.tolist() == [0] * 11 + [1] * 11 and found.test.labels.tolist() == [0, 0, 1, 1]
    names = sorted(path.name for path in (tmp_path / "train" / "b").iterdir())
    expected = [decode(str(tmp_path / "train" / "b" / name), 3, None) for name in names]
    assert np.array_equal(pixels(found.train)[11:], np.stack(expected))


def test_folder_val_is_not_test(tmp_path: Path) -> None:
    """A folder `val` beside train and test is no split and no class."""
    split_folder(tmp_path)
    write_folder(tmp_path, {"val/a/0.png": (8, 8), "val/b/0.png": (8, 8)})
    found = folder(tmp_path)
    assert (len(found.train), len(found.test), found.classes) == (6, 4, ("a", "b"))


@pytest.mark.parametrize("only", ["train", "test"])
def test_folder_with_half_a_split_is_an_error(tmp_path: Path, only: str) -> None:
    """train/ without test/ is not taken for a class."""
    write_folder(tmp_path, {f"{only}/a/0.png": (8, 8), "val/b/0.png": (8, 8)})
    with pytest.raises(DataError, match=f"has {only}/ but no t"):
        folder(tmp_path)


def test_folder_of_classes_alone_is_split(tmp_path: Path) -> None:
    """CLASS/* is split by class, a fifth for test unless told otherwise, no image on both sides."""
    write_folder(tmp_path, {f"{label}/{number}.png": (8, 8) for label in "ab" for number in range(10)})
    found = folder(tmp_path)
    assert np.bincount(found.train.labels).tolist() == [8, 8] and np.bincount(found.test.labels).tolist() == [2, 2]
    both = {bytes(image) for image in pixels(found.train)} & {bytes(image) for image in pixels(found.test)}
    assert not both
    assert len(folder(tmp_path, test_fraction=0.5).test) == 10
    assert not np.array_equal(pixels(folder(tmp_path, split_seed=1).test), pixels(found.test))


@pytest.mark.parametrize("key", [{"test_fraction": 0.5}, {"split_seed": 1}])
def test_folder_split_keys_without_use_are_an_error(tmp_path: Path, key: dict[str, object]) -> None:
    """A split asked for where the folder has its own is refused, not ignored."""
    split_folder(tmp_path)
    with pytest.raises(DataError, match=f"sets {next(iter(key))}"):
        folder(tmp_path, **key)


def test_folder_classes_chosen(tmp_path: Path) -> None:
    """`classes` takes those folders in that order, and a name that is none lists those there are."""
    split_folder(tmp_path, classes="abc")
    found = folder(tmp_path, classes=("c", "a"))
    assert found.classes == ("c", "a") and len(found.train) == 6
    assert np.array_equal(pixels(found.train)[3:], pixels(folder(tmp_path).train)[:3])
    with pytest.raises(DataError, match="'d', which is no folder there") as caught:
        folder(tmp_path, classes=("a", "d"))
    assert "a, b, c" in str(caught.value.cure)


def test_folder_train_and_test_must_agree(tmp_path: Path) -> None:
    """A class on one side only is named, with the side it lacks."""
    split_folder(tmp_path)
    write_folder(tmp_path, {"train/c/0.png": (8, 8)})
    with pytest.raises(DataError, match="'c' is not in test/"):
        folder(tmp_path)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"0.png": (8, 8)}, "has no folders, so no classes"),
        ({"a/0.png": (8, 8), "a/1.png": (8, 8)}, "has one class, 'a'"),
        ({"a/0.png": (8, 8), "b/0.png": (8, 8), "b/1.png": (8, 8)}, "class 'a' has 1 image, too few to split"),
    ],
)
def test_folder_that_is_no_dataset(tmp_path: Path, files: dict[str, tuple[int, int]], problem: str) -> None:
    """Too few classes or images to tell apart and test is said so."""
    write_folder(tmp_path, files)
    with pytest.raises(DataError, match=problem):
        folder(tmp_path)


def test_folder_class_without_images(tmp_path: Path) -> None:
    """An empty class folder is named."""
    split_folder(tmp_path)
    (tmp_path / "train" / "c").mkdir()
    (tmp_path / "test" / "c").mkdir()
    with pytest.raises(DataError, match=r"train/c: has no images"):
        folder(tmp_path)


def test_folder_missing_names_path_and_key(tmp_path: Path) -> None:
    """A folder that is not there says which, and which key to set."""
    with pytest.raises(DataMissing, match="nowhere") as caught:
        folder(tmp_path / "nowhere")
    assert caught.value.cure == "--set datasets.mine.path=FOLDER"


def test_folder_passes_over_what_is_no_image(tmp_path: Path) -> None:
    """Hidden files, other files, pipes and archivers' folders are counted and left out; any case is an image."""
    split_folder(tmp_path)
    (tmp_path / "train" / "a" / "0.png").rename(tmp_path / "train" / "a" / "0.PNG")
    (tmp_path / "train" / "a" / ".hidden.png").write_bytes(b"")
    (tmp_path / "train" / "a" / "notes.txt").write_text("none")
    (tmp_path / "train" / "__MACOSX").mkdir()
    (tmp_path / "train" / "loose.png").write_bytes(b"")
    os.mkfifo(tmp_path / "train" / "a" / "pipe.png")
    found = folder(tmp_path)
    assert found.skipped == 5 and len(found.train) == 6


def test_folder_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    """A link to a folder counts as that folder; links in a circle, or to themselves, end the search."""
    split_folder(tmp_path / "set")
    write_folder(tmp_path, {"elsewhere/9.png": (8, 8)})
    inner = tmp_path / "set" / "train" / "a"
    (inner / "more").symlink_to(tmp_path / "elsewhere")
    (inner / "up").symlink_to(tmp_path / "set")
    (inner / "here").symlink_to(inner)
    (inner / "self").symlink_to(inner / "self")
    (tmp_path / "elsewhere" / "back").symlink_to(inner)
    found = folder(tmp_path / "set")
    assert len(found.train) == 7 and found.classes == ("a", "b")


def test_folder_unreadable_images_are_all_counted(tmp_path: Path) -> None:
    """Files that are no images, cut short, or dangling links: the first ten named, all counted."""
    split_folder(tmp_path, train=BLOCK // 2 + 20, test=1)
    names = sorted((tmp_path / "train" / "a").iterdir())[-12:]
    for path in names[:-1]:
        path.write_bytes(path.read_bytes()[:20])
    names[-1].unlink()
    names[-1].symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataDamaged, match="12 of 554 images cannot be read") as caught:
        folder(tmp_path)
    lines = caught.value.message.splitlines()
    assert len(lines) == 1 + NAMED + 1 and str(names[0]) in lines[1] and lines[-1].endswith("and 2 more")


def test_folder_truncated_image_is_named(tmp_path: Path) -> None:
    """An image whose header is whole and whose pixels are cut short is found on decoding."""
    split_folder(tmp_path, size=64)
    path = tmp_path / "train" / "b" / "1.png"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataDamaged, match="1 of 6 images cannot be read") as caught:
        pixels(folder(tmp_path).train)
    assert str(path) in caught.value.message


def test_folder_of_different_sizes_needs_image_size(tmp_path: Path) -> None:
    """Two files of different sizes are named with the key to set, which then makes all equal."""
    split_folder(tmp_path)
    write_folder(tmp_path, {"train/b/wide.png": (20, 10)})
    with pytest.raises(DataError, match=r"train/a/0\.png is 8x8, train/b/wide\.png is 20x10") as caught:
        folder(tmp_path)
    assert "--set datasets.mine.image_size=" in str(caught.value.cure)
    assert pixels(folder(tmp_path, image_size=12).train).shape == (7, 3, 12, 12)


def test_folder_of_oblong_images_needs_image_size(tmp_path: Path) -> None:
    """Equal but not square is said so."""
    write_folder(tmp_path, {f"{label}/{number}.png": (20, 10) for label in "ab" for number in range(3)})
    with pytest.raises(DataError, match="20x10, not square"):
        folder(tmp_path)


def test_folder_channels_follow_the_images(tmp_path: Path) -> None:
    """One channel only where every image is gray, unless told; else RGB."""
    names = {f"{label}/{number}.png": (8, 8) for label in "ab" for number in range(3)}
    write_folder(tmp_path, names, mode="L")
    assert folder(tmp_path).train.shape == (1, 8, 8)
    assert pixels(folder(tmp_path, channels=3).train).shape == (4, 3, 8, 8)
    write_folder(tmp_path, {"a/rgb.png": (8, 8)})
    assert folder(tmp_path).train.shape == (3, 8, 8)
    assert pixels(folder(tmp_path, channels=1).train).shape[1] == 1
