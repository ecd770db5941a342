"""What all tests share."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # processes side by side: each keeps to its core
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from tracker.study import faults
from tracker.study.home import Home

# Properties are tried on the same examples on every machine, however slow it is.
settings.register_profile("same", derandomize=True, deadline=None)
settings.load_profile("same")


def pytest_configure(config: pytest.Config) -> None:
    """Keep compiled code in a folder of these tests, one for all of their processes, never in the user's."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="tracker-tests-")
        os.environ["TRACKER_CACHE_DIR"] = folder.name
        config.add_cleanup(folder.cleanup)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home folder."""
    return Home(tmp_path / "mlruns")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine reaches a test."""
    for name in ("TRACKER_HOME", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("TRACKER_STORAGE", faults.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    # `main()` sets this one for good; set and taken away here, it is put back as it was at the test's end.
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.delenv("PYTHONSAFEPATH")
    faults.forget()
