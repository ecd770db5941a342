"""Writing a study to a real server and reading it back."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.recipe import RECIPE_KEYS
from tracker.study.study import Study
from tracker.tracking import reading
from tracker.tracking.client import connect
from tracker.tracking.environment import environment_tags, git_state
from tracker.tracking.prepared_views import CELLS, view_tag
from tracker.tracking.run import NOTE, open_run
from tracker.tracking.sharing import Company
from tracker.tracking.tags import MAX_TAG
from tracker.tracking.view import describe_study, experiment_url, run_url
from tracker.tracking.writing import StudyTracking, document_tags, read_document


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


WRITERS = """
import multiprocessing, sys
from pathlib import Path
import mlflow.tracking  # once, for all of them
from tracker.study.home import Home
from tracker.tracking.run import open_run

def write(number):
    run = open_run(uri, home, "at-once", str(number), f"at-once-{number}")
    together.wait(60)
    for digest in range(20):
        run.log_dataset("new", str(digest))
    run.finish("FINISHED")

uri, home = sys.argv[1], Home(Path(sys.argv[2]))
forking = multiprocessing.get_context("fork")
together = forking.Barrier(3)
writers = [forking.Process(target=write, args=(number,)) for number in range(3)]
for writer in writers:
    writer.start()
for writer in writers:
    writer.join()
print([writer.exitcode for writer in writers])
"""


def test_runs_that_name_a_new_dataset_at_once_all_have_it(home: Home, uri: str) -> None:
    """Of two processes that bring the same new dataset MLflow refuses the slower; it is told again and has it."""
    command = [sys.executable, "-c", WRITERS, uri, str(home.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "[0, 0, 0]\n", done.stderr
    assert list(home.journal.iterdir()) == []
    experiment = connect(uri).get_experiment_by_name("at-once")
    runs = connect(uri).search_runs([experiment.experiment_id])
    assert [len(run.inputs.dataset_inputs) for run in runs] == [20, 20, 20]
