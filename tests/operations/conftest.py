"""A small home that is made once and copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.ledger.conftest import postgresql  # noqa: F401
from tests.operations.small_home import SmallHome, build
from tests.sweep.conftest import swept  # noqa: F401
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
