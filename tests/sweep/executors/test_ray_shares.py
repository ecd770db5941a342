"""What a sweep asks of Ray, refuses and passes on; none of it needs a cluster."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.sweep.trials import crew_config
from tracker.ledger.ledger import Ledger
from tracker.study.errors import PreflightError, TrackerError, UsageError
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.sweep.events import Notice
from tracker.sweep.executors.ray import RayCrew
from tracker.sweep.executors.ray_cluster import Share, connected, find_share, require_ray
from tracker.sweep.executors.ray_worker import RayWorker, passed_on
from tracker.sweep.options import SweepOptions
from tracker.sweep.workers.config import WorkerConfig


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray is an extra."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(TrackerError, match=r"norm-tracker\[ray\]"):
        require_ray()


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_what_ray_cannot_do_is_refused(home: Home) -> None:
    """One GPU by its number means nothing to a cluster; Ray's client protocol does not let workers be listened to."""
    study = parse_study(document(Path("images")), file="a test")
    with Ledger.local(home) as ledger, pytest.raises(UsageError, match="--device cuda"):
        RayCrew(study, crew_config(study, home), SweepOptions(device="cuda:1"), ledger)
    with pytest.raises(UsageError, match="client"), connected("ray://somewhere:10001"):
        raise AssertionError("connected")


def share(device: str = "auto", url: str = "postgresql+psycopg://db/trials", uri: str = "http://mlflow:5000") -> Share:
    """Find the share in a cluster of two machines with four GPUs."""
    return find_share(device, 2, url, uri, here="10.0.0.1", machines=["10.0.0.1", "10.0.0.2"], gpus=4.0)


def test_workers_take_their_part_of_a_gpu_or_one_core() -> None:
    """`auto` is a GPU where there is one, shared by as many as were asked for; anywhere in the cluster."""
    assert share("auto") == share("cuda") == Share("GPU", 0.5, None)
    assert share("cpu") == Share("CPU", 1.0, None)
    alone = find_share("auto", 2, "sqlite:///t.db", "http://m", here="10.0.0.1", machines=["10.0.0.1"], gpus=0.0)
    assert alone == Share("CPU", 1.0, "10.0.0.1")
    assert alone.options(())["resources"] == {"node:10.0.0.1": 0.001}
    assert share().options(["b", "a"])["label_selector"] == {"ray.io/node-id": "!in(a,b)"}


@pytest.mark.parametrize("uri", ["http://127.0.0.1:5000", "http://localhost:5000", "http://[::1]:5000"])
def test_what_other_machines_cannot_reach_is_refused_with_the_cure(uri: str) -> None:
    """A SQLite file and an MLflow of this machine alone, both named at once."""
    with pytest.raises(PreflightError) as refused:
        share(url="sqlite:////home/trials.db", uri=uri)
    assert len(refused.value.obstacles) == 2
    assert "--storage postgresql+psycopg://" in str(refused.value)
    assert "MLFLOW_TRACKING_URI=http://" in str(refused.value)
    with pytest.raises(PreflightError):
        share(uri=uri)


def test_workers_get_the_settings_of_the_sweep_but_not_its_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's and PostgreSQL's variables go along; home and storage are told apart from them."""
    for name in ("MLFLOW_TRACKING_TOKEN", "PGPASSWORD", "TRACKER_HOME", "TRACKER_STORAGE", "SECRET"):
        monkeypatch.setenv(name, "x")
    passed = passed_on()
    assert {"MLFLOW_TRACKING_TOKEN", "PGPASSWORD"} <= passed.keys()
    assert not {"TRACKER_HOME", "TRACKER_STORAGE", "SECRET"} & passed.keys()


def document(images: Path) -> dict[str, object]:
    """Return a study of images in a folder."""
    return {
        "name": "short",
        "question": "Which?",
        "baseline": "finetune",
        "datasets": {"mine": {"kind": "folder", "path": str(images)}},
        "recipe": {"model": "resnet18", "dataset": "mine", "source": "random", "epochs": 1},
        "axes": {"normalization": ["finetune"], "seed": [1, 2]},
    }


def test_a_machine_that_lacks_the_data_takes_no_cell(home: Home, tmp_path: Path) -> None:
    """It says what is missing and where, before a cell could fail by it."""
    study = parse_study(document(tmp_path / "nowhere"), file="a test")
    with Ledger.local(home) as ledger:
        ledger.enroll(study)
        worker = RayWorker()
        config = WorkerConfig(
            name="there",
            crew=crew_config(study, home),
            device="cpu",
            device_place="there/cpu",
            threads=1,
        )
        worker.run(config, {}, True)
        news = worker.hear()
        assert (news.ended, news.unfit, news.failed) == (True, True, True)
        (notice,) = news.events
        assert isinstance(notice, Notice)
        assert "nowhere" in notice.text
        assert [row.attempts for row in ledger.rows("short")] == [0, 0]
