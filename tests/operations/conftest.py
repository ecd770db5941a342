"""A small home and a study half done, each made once, with its backup or its bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.operations.small_home import SmallHome, build
from tests.operations.transfer_material import NAME, Half, make_half
from tests.operations.transferring import ask
from tests.sweep.conftest import swept  # noqa: F401
from tracker.operations.backing_up import back_up
from tracker.study.home import Home


@pytest.fixture(scope="session")
def made_home(tmp_path_factory: pytest.TempPathFactory) -> SmallHome:
    """The small home; nobody changes it."""
    return build(tmp_path_factory.mktemp("made"))


@pytest.fixture
def small(made_home: SmallHome, tmp_path: Path) -> SmallHome:
    """A copy of the small home, with its times."""
    copy = Home(tmp_path / "mlruns")
    shutil.copytree(made_home.home.root, copy.root, symlinks=True)
    return SmallHome(copy, made_home.study)


@pytest.fixture(scope="session")
def made_backup(made_home: SmallHome, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of the small home; nobody changes it."""
    return back_up(made_home.home, tmp_path_factory.mktemp("backups")).folder


@pytest.fixture
def backup(made_backup: Path, tmp_path: Path) -> Path:
    """A copy of that backup, to be damaged."""
    return Path(shutil.copytree(made_backup, tmp_path / "b" / made_backup.name))


@pytest.fixture(scope="session")
def half(tmp_path_factory: pytest.TempPathFactory) -> Half:
    """The study half done; nobody changes it."""
    return make_half(Home(tmp_path_factory.mktemp("from") / "mlruns"))


@pytest.fixture(scope="session")
def bundle(half: Half, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its bundle; nobody changes it."""
    target = tmp_path_factory.mktemp("bundles") / "half.bundle"
    done = ask(half.home, "export-runs", "--study", NAME, "-o", str(target))
    assert done.stdout == f"{NAME}: 6 runs, 6 cells, 11 files, 0.0 MB\n"
    return target
