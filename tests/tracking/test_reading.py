"""What is read back from MLflow is all there is, once, and of studies only."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.study.study import Study
from tracker.tracking import reading
from tracker.tracking.run import open_run
from tracker.tracking.writing import SOURCES, StudyTracking


def test_every_run_is_read_however_many_there_are(served_home: Home, home: Home, uri: str, study: Study) -> None:
    """MLflow cuts a search at 1,000 runs without a word; reading goes on to the end."""
    place = StudyTracking(uri, home, study).open()
    run = StudyTracking(uri, home, study, place).cell_run(study.cells[0], "a1")
    assert run.finish("FINISHED")
    with closing(sqlite3.connect(served_home.tracking_db, timeout=30)) as database, database:
        for table in ("runs", "tags"):
            names = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            values = ["printf('%032x', n)" if name == "run_uuid" else name for name in names]
            database.execute(
                f"WITH RECURSIVE copies(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM copies WHERE n < 2100) "  # noqa: S608
                f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(values)} FROM {table}, copies "
                f"WHERE run_uuid = ?",
                (run.run_id,),
            )
    runs = reading.read_runs(uri, study.name)
    assert len(runs) == 2101
    assert len({record.run_id for record in runs}) == 2101


def test_a_step_trained_twice_counts_once_with_its_last_value(home: Home, uri: str) -> None:
    """After an interruption an epoch may be trained again; its history has one point."""
    run = open_run(uri, home, "twice", "a run", "twice-1")
    for epoch, loss in [(0, 1.0), (1, 0.9), (1, 0.8), (2, 0.7)]:
        run.log_epoch(epoch, {"loss": loss})
    assert run.finish("FINISHED")
    assert run.run_id is not None
    assert reading.read_histories(uri, [run.run_id], "loss")[run.run_id] == [(0, 1.0), (1, 0.8), (2, 0.7)]


def test_an_unknown_study_is_answered_with_those_there_are(home: Home, uri: str, study: Study) -> None:
    """The error lists names to choose from."""
    StudyTracking(uri, home, study).open()
    with pytest.raises(TrackingError, match="has no study 'nonsense'") as caught:
        reading.read_study(uri, "nonsense")
    assert study.name in str(caught.value)
    with pytest.raises(TrackingError, match="has no experiment 'nonsense'"):
        reading.read_runs(uri, "nonsense")


def test_a_source_run_is_no_study_and_no_cell(home: Home, uri: str) -> None:
    """Pre-training is tracked in an experiment of its own and does not turn up among the studies."""
    run = open_run(uri, home, SOURCES, "digits", "source-abc", tags={"tracker.kind": "source"})
    assert run.finish("FINISHED")
    assert reading.read_runs(uri, SOURCES) == []
    assert SOURCES not in [record.name for record in reading.studies(uri)]
