"""Names of studies and folders: what the same question is found by."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.advise.material import make_folder
from tracker.advise.request import Request, names_of, resolve_root, slug
from tracker.advise.source import ChosenSource
from tracker.study.errors import DataError, DataMissing
from tracker.vision.images import Statistics

SOURCE = ChosenSource("small", "resnet18", 3, Statistics((0.4,) * 3, (0.2,) * 3))
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@pytest.fixture
def request_of(tmp_path: Path) -> Request:
    """A request on a small folder."""
    return Request(resolve_root(make_folder(tmp_path / "My Photos (é)", count=2)), SOURCE, "full")


def test_names_are_safe_and_readable(request_of: Request) -> None:
    """A slug of the folder's name and a hash."""
    names = names_of(request_of)
    assert re.fullmatch(r"advise-my-photos-e-[0-9a-f]{12}", names.study)
    assert re.fullmatch(r"my-photos-e-[0-9a-f]{8}", names.dataset)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("flowers", "flowers"),
        ("My \"best\" 'photos'\n2024", "my-best-photos-2024"),
        ("фото", "images"),
        ("", "images"),
        ("--x--", "x"),
        ("a" * 300, "a" * 24),
        ("\udcff\udcfe", "images"),
    ],
)
def test_any_folder_name_gives_a_name(folder: str, expected: str) -> None:
    """Letters, digits and dashes; `images` where nothing is left."""
    assert slug(folder) == expected
    assert NAME.fullmatch(f"advise-{slug(folder)}-{'0' * 12}")


def test_the_same_question_has_the_same_name_and_another_has_another(request_of: Request) -> None:
    """Source, what is tuned, image size and what becomes of unreadable files are the question; so is each file."""
    first = names_of(request_of)
    assert names_of(replace(request_of)) == first
    others = [
        replace(request_of, tune="head"),
        replace(request_of, source=replace(SOURCE, model="resnet50")),
        replace(request_of, source=replace(SOURCE, fingerprint="made again")),
        replace(request_of, image_size=32),
        replace(request_of, skip_unreadable=True),
    ]
    found = {names_of(other).study for other in others}
    assert len(found - {first.study}) == len(others)
    assert names_of(others[0]).dataset == first.dataset, "packed once for both"
    assert names_of(others[3]).dataset != first.dataset
    (request_of.root / "a" / "0.png").touch()
    os.utime(request_of.root / "a" / "0.png", (1, 1))
    assert names_of(request_of).study != first.study, "a changed folder is another question"


def test_a_folder_elsewhere_is_another_question(request_of: Request, tmp_path: Path) -> None:
    """Equal files under the same name too: what is packed of the one must not stand for the other."""
    other = Request(resolve_root(make_folder(tmp_path / "there" / "My Photos (é)", count=2)), SOURCE, "full")
    assert names_of(other).study != names_of(request_of).study
    assert names_of(other).dataset != names_of(request_of).dataset


def test_a_source_of_one_channel_takes_gray_images(request_of: Request) -> None:
    """Images in colour are then stored gray."""
    assert replace(request_of, source=replace(SOURCE, channels=1)).spec.channels == 1
    assert request_of.spec.channels is None


def test_what_is_no_folder_is_refused_with_a_cure(tmp_path: Path) -> None:
    """Nothing there, a file, a link to itself, a name that is not UTF-8, a line break shown escaped."""
    file = tmp_path / "file.png"
    file.touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(DataMissing, match=r"no\\nwhere: there is no such folder"):
        resolve_root(tmp_path / "no\nwhere")
    with pytest.raises(DataError, match="is a file"):
        resolve_root(file)
    with pytest.raises(DataMissing, match="loop: cannot be found"):
        resolve_root(tmp_path / "loop")
    odd = tmp_path / os.fsdecode(b"odd\xff")
    odd.mkdir()
    with pytest.raises(DataError, match=r"odd\\xff: has a name that is not UTF-8"):
        resolve_root(odd)
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "folder").mkdir()
    assert resolve_root(tmp_path / "link") == (tmp_path / "folder").resolve()
