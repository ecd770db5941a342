"""One real MLflow server that the tests of this wing share, and a small study to log."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.study import Study
from tracker.tracking.server import lifecycle


@pytest.fixture(scope="session")
def served_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home whose server runs. Its path has a blank and a percent sign, as paths may."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    home = Home(tmp_path_factory.mktemp("a 50% home") / "mlruns")
    lifecycle.start(home)
    yield home
    lifecycle.stop(home)


@pytest.fixture
def uri(served_home: Home) -> str:
    """Where that server answers."""
    found = lifecycle.status(served_home).uri
    assert found is not None
    return found


@pytest.fixture
def study(request: pytest.FixtureRequest) -> Study:
    """Two cells, in an experiment of the test's own."""
    document = {
        "name": request.node.name.replace("[", "-").replace("]", "")[:80],
        "question": "Does it matter?",
        "recipe": {"model": "resnet18", "dataset": "digits"},
        "axes": {"normalization": ["pretrain", "minmax"], "seed": [1]},
    }
    return parse_study(document, file="test.yaml")
