"""A folder that is looked at once, for several tests."""

from __future__ import annotations

import pytest

from tests.vision.inspection.folders import HALF, write_odd_files
from tracker.vision.inspection.findings import Inspection
from tracker.vision.inspection.inspecting import inspect_folder


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    """Look at a folder with a file of every kind that is stored otherwise than it lies there."""
    root = tmp_path_factory.mktemp("odd")
    write_odd_files(root)
    return inspect_folder(root, source=HALF)
