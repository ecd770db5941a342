"""Writing a study to a real server and reading it back."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.recipe import RECIPE_KEYS
from tracker.study.study import Study
from tracker.tracking import reading
from tracker.tracking.client import connect
from tracker.tracking.delivery import ENDED_TAG
from tracker.tracking.ending import end_run, open_runs, runs_by_key
from tracker.tracking.environment import environment_tags, git_state
from tracker.tracking.events import Status
from tracker.tracking.prepared_views import CELLS, view_tag
from tracker.tracking.run import NOTE, open_run
from tracker.tracking.sharing import Company
from tracker.tracking.tags import MAX_TAG
from tracker.tracking.view import describe_study, experiment_url, run_url
from tracker.tracking.writing import SOURCES, StudyTracking, document_tags, read_document, study_key


def test_a_study_and_its_cells_come_back_as_they_were_logged(
    home: Home, uri: str, study: Study, tmp_path: Path
) -> None:
    """Experiment, study run and cell runs hold what was given: definition, params, metrics, tags, files, dataset."""
    tracking = StudyTracking(uri, home, study)
    place = tracking.open()
    worker = StudyTracking(uri, home, study, place)
    cell = study.cells[1]
    run = worker.cell_run(cell, "a1", {"device": "cpu"})
    run.log_dataset("digits", "0123456789abcdef", profile={"images": 10})
    for epoch in range(3):
        run.log_epoch(epoch, {"train_loss": 1.0 / (epoch + 1), "test_acc": 0.5 + epoch / 10})
    run.log_metrics({"best_acc": 0.7, "train_loss": math.nan})
    picture = tmp_path / "curve.png"
    picture.write_bytes(b"png")
    run.log_file(picture, "figures")
    assert reading.read_runs(uri, study.name)[0].status == "RUNNING"
    assert run.finish("FINISHED")

    (record,) = reading.read_runs(uri, study.name)
    assert (record.name, record.cell_id, record.status) == (cell.name, cell.id, "FINISHED")
    assert record.run_id == run.run_id
    assert record.params == {key: str(getattr(cell.recipe, key)) for key in RECIPE_KEYS}
    assert record.metrics["best_acc"] == 0.7
    assert record.metrics["test_acc"] == 0.7
    assert math.isnan(record.metrics["train_loss"]), "finals count as the latest"
    assert record.tags["device"] == "cpu"
    assert record.tags["tracker.study_run_id"] == place.run_id
    assert place.run_id in record.tags[NOTE], "the description links the study"
    assert "mlflow.parentRunId" not in record.tags
    assert record.end_time is not None
    assert record.end_time >= record.start_time
    assert [file.path for file in connect(uri).list_artifacts(record.run_id, "figures")] == ["figures/curve.png"]
    (used,) = connect(uri).get_run(record.run_id).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("digits", "0123456789abcdef")

    histories = reading.read_histories(uri, [record.run_id, place.run_id], "test_acc")
    assert histories == {record.run_id: [(0, 0.5), (1, 0.6), (2, 0.7)], place.run_id: []}

    assert reading.read_study(uri, study.name).state == "RUNNING"
    tracking.log_file(picture)
    tracking.note("| leader | board |\n|---|---|")
    assert tracking.finish("FINISHED")
    back = reading.read_study(uri, study.name)
    assert (back.state, back.run_id, back.experiment_id) == ("FINISHED", place.run_id, place.experiment_id)
    assert parse_study(back.document, file="mlflow") == study
    experiment = connect(uri).get_experiment(place.experiment_id)
    assert "leader" in experiment.tags[NOTE]
    assert study.question in experiment.tags[NOTE]
    assert view_tag(CELLS) in experiment.tags


def test_a_second_sweep_goes_on_with_the_same_study_run(home: Home, uri: str, study: Study) -> None:
    """One run for the study, RUNNING while it is swept, with the definition last swept; it becomes the newest."""
    first = StudyTracking(uri, home, study)
    place = first.open()
    first.finish("KILLED")
    grown = study.model_copy(update={"axes": {**study.axes, "seed": (1, 2)}})
    second = StudyTracking(uri, home, grown)
    assert second.open() == place
    record = reading.newest_study(uri)
    assert record is not None
    assert (record.name, record.state) == (study.name, "RUNNING")
    assert len(parse_study(record.document, file="mlflow").cells) == 4
    second.finish("FINISHED")


def test_the_last_of_two_sweeps_ends_the_study(home: Home, uri: str, study: Study) -> None:
    """Sweeps of a study at once share its run: RUNNING until the last has finished, and ended as that one says."""
    first, second = StudyTracking(uri, home, study), StudyTracking(uri, home, study)
    assert first.open() == second.open()
    assert second.finish("FINISHED")
    assert reading.read_study(uri, study.name).state == "RUNNING"
    first.note("still at it")
    assert first.finish("KILLED")
    assert reading.read_study(uri, study.name).state == "KILLED"
    assert list(home.journal.iterdir()) == []


def test_those_who_leave_at_once_do_not_leave_it_to_each_other(tmp_path: Path) -> None:
    """However they interleave, at least one of those who leave knows that nobody is left; nobody does before."""
    for _ in range(20):
        company = [Company(tmp_path, "run") for _ in range(4)]
        for one in company:
            one.join()
        watcher = Company(tmp_path, "run")
        with watcher.last_out() as alone:
            assert not alone
        together = threading.Barrier(len(company))

        def leave(one: Company, together: threading.Barrier = together) -> bool:
            together.wait()
            with one.last_out() as last:
                return last

        with ThreadPoolExecutor(len(company)) as pool:
            assert any(pool.map(leave, company))
        assert list(tmp_path.iterdir()) == []


def test_a_deleted_experiment_is_restored_with_its_runs(
    home: Home, uri: str, study: Study, caplog: pytest.LogCaptureFixture
) -> None:
    """MLflow keeps deleted experiments and their names; the ledger still counts their cells as done."""
    place = StudyTracking(uri, home, study).open()
    StudyTracking(uri, home, study, place).cell_run(study.cells[0], "a1").finish("FINISHED")
    connect(uri).delete_experiment(place.experiment_id)
    assert StudyTracking(uri, home, study).open().experiment_id == place.experiment_id
    assert "had been deleted" in caplog.text
    assert len(reading.read_runs(uri, study.name)) == 1


def test_a_sweep_does_not_start_without_mlflow(home: Home, study: Study) -> None:
    """Opening a study on an address that does not answer is an error that names it."""
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9"):
        StudyTracking("http://127.0.0.1:9", home, study).open()


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


@pytest.mark.parametrize("size", [0, 10, MAX_TAG, 3 * MAX_TAG])
def test_a_study_document_fits_into_tags_whatever_its_length(size: int) -> None:
    """MLflow cuts a tag at 8,000 characters, so the document is spread, and comes back whole."""
    document = {"question": "x" * size, "axes": {"seed": [1, 2]}}
    parts = document_tags(document)
    assert all(len(value) < 8_000 for value in parts.values())
    assert read_document(parts) == document
    with pytest.raises(ValueError, match=r"tracker\.document"):
        read_document({key: value for key, value in parts.items() if not key.endswith(".0")})


def test_long_descriptions_are_cut_at_a_line_and_say_so(home: Home, uri: str) -> None:
    """A description longer than a tag is not refused, and does not end in half a table row."""
    run = open_run(uri, home, "long", "a run", "long-1")
    run.note("a row of a table\n" * 1_000)
    assert run.finish("FINISHED")
    note = connect(uri).get_run(run.run_id).data.tags[NOTE]
    assert note.endswith("a row of a table\n\n(cut here)")


def test_a_key_cannot_leave_the_journal_folder(home: Home) -> None:
    """The key names a file."""
    with pytest.raises(ValueError, match="cannot name a journal"):
        open_run("http://127.0.0.1:9", home, "x", "x", "../escape")


def test_the_address_opens_the_machine_learning_view(study: Study) -> None:
    """MLflow's first visit would otherwise open in its mode for language models."""
    assert experiment_url("http://h:1/", "7").startswith(
        "http://h:1/#/experiments/7/runs?workflowType=machine_learning"
    )
    assert run_url("http://h:1", "7", "ab").startswith("http://h:1/#/experiments/7/runs/ab?")


def test_a_description_names_axes_values_metrics_and_the_result(study: Study) -> None:
    """Someone who browses the UI learns what the names mean; a result stands right after the question."""
    text = describe_study(study, "THE RESULT")
    for word in ("Does it matter?", "2 cells", "pretrain, minmax", "(the baseline)", "best_acc", "fraction"):
        assert word in text
    assert text.index("Does it matter?") < text.index("THE RESULT") < text.index("2 cells")


def test_the_environment_is_tagged() -> None:
    """A run says with which versions it was made."""
    tags = environment_tags()
    assert {"version.python", "version.torch", "version.mlflow", "host", "platform"} <= set(tags)


def test_a_folder_without_git_has_no_commit(tmp_path: Path) -> None:
    """No repository, or no git: no tag, no error."""
    assert git_state(tmp_path) is None
    assert git_state(tmp_path / "missing") is None


def test_runs_that_name_a_new_dataset_at_once_all_have_it(home: Home, uri: str, tmp_path: Path) -> None:
    """Of two processes that bring the same new dataset MLflow refuses the slower; it is told again and has it."""
    script = (
        "import pathlib, sys, time\n"
        "from tracker.study.home import Home\n"
        "from tracker.tracking.run import open_run\n"
        "uri, root, number, go = sys.argv[1:]\n"
        "run = open_run(uri, Home(pathlib.Path(root)), 'at-once', number, f'at-once-{number}')\n"
        "pathlib.Path(f'{go}-{number}').touch()\n"
        "while not pathlib.Path(go).exists():\n"
        "    time.sleep(0.001)\n"
        "for digest in range(20):\n"
        "    run.log_dataset('new', str(digest))\n"
        "run.finish('FINISHED')\n"
    )
    go = tmp_path / "go"
    writers = [
        subprocess.Popen([sys.executable, "-c", script, uri, str(home.root), str(number), str(go)])
        for number in range(3)
    ]
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("go-*"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    go.touch()
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert list(home.journal.iterdir()) == []
    experiment = connect(uri).get_experiment_by_name("at-once")
    runs = connect(uri).search_runs([experiment.experiment_id])
    assert [len(run.inputs.dataset_inputs) for run in runs] == [20, 20, 20]
