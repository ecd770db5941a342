"""Rules of the local folder, and of writing into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracker.study.errors import TrackerError
from tracker.study.home import Home, replacing


def test_find_takes_the_option_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--home`, else TRACKER_HOME, else ./mlruns; always absolute, `~` resolved, and nothing is made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert Home.find() == Home(tmp_path / "mlruns")
    monkeypatch.setenv("TRACKER_HOME", "from-environment")
    assert Home.find() == Home(tmp_path / "from-environment")
    assert Home.find("given") == Home(tmp_path / "given")
    assert Home.find(Path("~/given")) == Home(tmp_path / "me" / "given")
    monkeypatch.setenv("TRACKER_HOME", "")
    assert Home.find() == Home.find("") == Home(tmp_path / "mlruns")
    assert list(tmp_path.iterdir()) == []


def test_everything_lies_under_the_root(home: Home) -> None:
    """Every path of a home is inside it, and no two are the same."""
    names = [name for name, member in vars(Home).items() if isinstance(member, property)]
    paths = [getattr(home, name) for name in names]
    assert len(names) == len(set(paths)) == 10
    assert all(path.parent == home.root for path in paths)


def test_make_creates_a_folder(home: Home) -> None:
    """A folder is made with those above it, and may be there already."""
    assert home.make(home.work).is_dir()
    assert home.make(home.work) == home.work


def test_a_folder_that_cannot_be_made(home: Home) -> None:
    """A file in the way is an error that names the place and the two ways out."""
    home.root.write_text("a file")
    with pytest.raises(TrackerError, match="cannot be created") as caught:
        home.make(home.work)
    assert str(home.work) in caught.value.message
    assert caught.value.cure == "choose a writable place with --home DIR or TRACKER_HOME=DIR"


def test_replacing_puts_the_new_file_in_place(tmp_path: Path) -> None:
    """The old content is there until the block ends, then the new one; nothing else is left; folders are made."""
    path = tmp_path / "new" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("first")
        assert not path.exists()
    with replacing(path) as temporary:
        temporary.write_text("second")
        assert path.read_text() == "first"
        assert temporary.parent == path.parent  # a rename between file systems would not be atomic
        assert temporary.name.startswith(".")
    assert path.read_text() == "second"
    assert [found.name for found in path.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_replacing_leaves_the_old_file_on_an_error(tmp_path: Path, error: BaseException, written: bool) -> None:
    """Whatever goes wrong, the old file stays and no temporary one is left."""
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(type(error)), replacing(path) as temporary:
        if written:
            temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["file.txt"]


def test_replacing_needs_a_file_to_put_in_place(tmp_path: Path) -> None:
    """A block that writes nothing does not remove what was there."""
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_text() == "old"


def test_two_writers_do_not_meet(tmp_path: Path) -> None:
    """Each writer has a temporary file of its own; the last one to end wins."""
    path = tmp_path / "file.txt"
    with replacing(path) as first:
        with replacing(path) as second:
            assert first != second
            first.write_text("first")
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert len(list(tmp_path.iterdir())) == 1
