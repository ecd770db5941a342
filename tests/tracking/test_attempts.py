"""Every attempt of a cell goes on with the cell's one run, however the last one ended."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tracker.study.home import Home
from tracker.study.study import Study
from tracker.tracking import reading
from tracker.tracking.client import connect
from tracker.tracking.delivery import ENDED_TAG
from tracker.tracking.ending import end_run, open_runs, runs_by_key
from tracker.tracking.events import Status
from tracker.tracking.run import NOTE, open_run
from tracker.tracking.writing import StudyTracking, study_key


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_every_attempt_goes_on_with_the_same_run(
    home: Home, uri: str, study: Study, tmp_path: Path, status: Status
) -> None:
    """One run a cell: however the last attempt ended and wherever the next runs, it is RUNNING and described anew."""
    cell = study.cells[0]
    first = StudyTracking(uri, home, study).cell_run(cell, "key-1", {"worker": "a"})
    first.log_epoch(0, {"loss": 1.0})
    first.set_tags({ENDED_TAG: "it broke"})
    assert first.finish(status, note="it broke")
    elsewhere = StudyTracking(uri, Home(tmp_path / "elsewhere"), study)
    again = elsewhere.cell_run(cell, "key-1", {"worker": "b"})
    (record,) = reading.read_runs(uri, study.name)
    assert (record.run_id, record.status, record.key) == (first.run_id, "RUNNING", "key-1")
    assert again.run_id == first.run_id
    assert record.tags["worker"] == "b"
    assert "it broke" not in record.tags[NOTE]
    assert ENDED_TAG not in record.tags
    assert again.finish("FINISHED")
    assert reading.read_runs(uri, study.name)[0].status == "FINISHED"


def test_a_deleted_run_is_restored_when_its_cell_goes_on(
    home: Home, uri: str, study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    """Someone tidied up in MLflow while the cell waited: its epochs are not lost, and the log says so."""
    tracking = StudyTracking(uri, home, study)
    first = tracking.cell_run(study.cells[0], "key-1")
    first.log_epoch(0, {"loss": 1.0})
    first.finish("KILLED")
    assert first.run_id is not None
    connect(uri).delete_run(first.run_id)
    assert reading.read_runs(uri, study.name) == []
    again = tracking.cell_run(study.cells[0], "key-1")
    assert again.run_id == first.run_id
    assert "had been deleted in MLflow; it is restored" in caplog.text
    again.log_epoch(1, {"loss": 0.5})
    assert again.finish("FINISHED")
    assert reading.read_histories(uri, [first.run_id], "loss")[first.run_id] == [(0, 1.0), (1, 0.5)]
    assert list(home.journal.iterdir()) == []


def test_epochs_logged_again_with_their_time_are_not_doubled(home: Home, uri: str, tmp_path: Path) -> None:
    """An attempt on another machine begins with the history it was given: one point an epoch, with its first time."""
    first = open_run(uri, home, "again", "a run", "again-1")
    moments = [first.log_epoch(epoch, {"loss": 1.0 / (epoch + 1), "nan": math.nan}) for epoch in range(3)]
    first.finish("KILLED")
    second = open_run(uri, Home(tmp_path / "elsewhere"), "again", "a run", "again-1")
    second.log_history([(moment, {"loss": 1.0 / (e + 1), "nan": math.nan}) for e, moment in enumerate(moments)])
    assert second.pending == 0
    assert second.log_epoch(2, {"loss": 1.0 / 3, "nan": math.nan}, moments[2]) == moments[2]
    later = second.log_epoch(3, {"loss": 0.25})
    assert second.finish("FINISHED")
    for metric, expected in (("loss", [*moments, later]), ("nan", moments)):
        found = connect(uri).get_metric_history(second.run_id, metric)
        assert sorted((point.step, point.timestamp) for point in found) == list(enumerate(expected))


def test_runs_left_open_are_found_and_ended(home: Home, uri: str, study: Study) -> None:
    """What is RUNNING is listed with its key, the study's own run too, and can be ended with a reason."""
    assert (open_runs(uri, study.name), runs_by_key(uri, study.name)) == ([], {})
    tracking = StudyTracking(uri, home, study)
    place = tracking.open()
    running = tracking.cell_run(study.cells[0], "key-1")
    tracking.cell_run(study.cells[1], "key-2").finish("FINISHED")
    assert [run.key for run in open_runs(uri, study.name)] == [study_key(study.name), "key-1"]
    keys = {key: run.run_id for key, run in runs_by_key(uri, study.name).items()}
    assert set(keys) == {study_key(study.name), "key-1", "key-2"}
    assert (keys[study_key(study.name)], keys["key-1"]) == (place.run_id, running.run_id)
    end_run(uri, keys["key-1"], "KILLED", "its worker is gone")
    ended = runs_by_key(uri, study.name)["key-1"]
    assert (ended.status, ended.tags[ENDED_TAG]) == ("KILLED", "its worker is gone")
    assert [run.key for run in open_runs(uri, study.name)] == [study_key(study.name)]
