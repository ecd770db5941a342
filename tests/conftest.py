"""What all tests share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
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


@pytest.fixture(scope="session")
def served_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home whose MLflow server runs: one for all tests of a process that leave it running, since a start is seconds.

    Its path has a blank and a percent sign, as paths may.
    """
    from tests.prepared_store import with_store
    from tracker.tracking.server import lifecycle

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        home = with_store(Home(tmp_path_factory.mktemp("a 50% home") / "mlruns"))
        lifecycle.start(home)
    yield home
    lifecycle.stop(home)


@pytest.fixture
def uri(served_home: Home) -> str:
    """Where that server answers."""
    from tracker.tracking.server import lifecycle

    found = lifecycle.status(served_home).uri
    assert found is not None
    return found


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server of our own, without a database's name; skips where there can be none."""
    from benchmarks.postgresql import lacking, temporary_server

    if reason := lacking():
        pytest.skip(reason)
    with temporary_server(durable=False) as url:
        yield url


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
