"""What is logged is plain MLflow: its own clients and command line read everything, with none of our code."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.tracking.writing import StudyTracking

NAME = "own-clients"
EPOCHS = 3


@dataclass(frozen=True)
class Logged:
    """Where MLflow's clients find a study: its address, and nothing else of ours."""

    uri: str
    experiment_id: str
    cells: list[str]


@pytest.fixture(scope="module")
def logged(served_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    """A study of two cells on the server of this wing; MLflow's clients are told its address as users tell it."""
    from tracker.tracking.server.lifecycle import status

    uri = status(served_home).uri
    assert uri is not None
    folder = tmp_path_factory.mktemp("own")
    document = {
        "name": NAME,
        "question": "Can others read it?",
        "recipe": {"model": "resnet18", "dataset": "digits"},
        "axes": {"normalization": ["pretrain", "minmax"], "seed": [1]},
    }
    study = parse_study(document, file="own.yaml")
    tracking = StudyTracking(uri, Home(folder / "mlruns"), study)
    place = tracking.open()
    board = folder / "best_acc.json"
    board.write_text(json.dumps({"metric": "best_acc"}))
    tracking.log_file(board, "leaderboard")
    for number, cell in enumerate(study.cells):
        run = StudyTracking(uri, Home(folder / "mlruns"), study, place).cell_run(cell, f"own-{number}")
        profile = {"classes": 10, "channels": 1, "image_size": 8, "images": 64}
        run.log_dataset("digits", "0123456789abcdef", profile=profile)
        run.sample(lambda: [(1_800_000_000_000, {"cpu_utilization_percentage": 12.5})])
        for epoch in range(EPOCHS):
            accuracy = (epoch + 1 + number) / 10
            run.log_epoch(epoch, {"test_acc": accuracy, "best_acc": accuracy})
        weights = folder / "best.safetensors"
        weights.write_bytes(bytes([number]) * 100)
        run.log_file(weights, "checkpoint")
        assert run.finish("FINISHED")
    assert tracking.finish("FINISHED")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        try:
            yield Logged(uri, place.experiment_id, [cell.name for cell in study.cells])
        finally:
            mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # nobody's: the variable counts again


def _mlflow(logged: Logged, *arguments: str) -> str:
    """Run MLflow's command line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, about its type hints
        from mlflow.cli import cli
    done = CliRunner().invoke(cli, arguments, env={"MLFLOW_TRACKING_URI": logged.uri}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def _cells() -> pd.DataFrame:
    found = mlflow.search_runs(
        experiment_names=[NAME], filter_string="tags.`tracker.kind` = 'cell'", order_by=["metrics.best_acc DESC"]
    )
    assert isinstance(found, pd.DataFrame)
    return found


def test_search_runs_gives_a_table_of_the_cells(logged: Logged) -> None:
    """One row a cell with its params, tags and results, the best first."""
    table = _cells()
    assert list(table["tags.mlflow.runName"]) == logged.cells[::-1]
    assert list(table["params.normalization"]) == ["minmax", "pretrain"]
    assert list(table["metrics.best_acc"]) == [0.4, 0.3]
    assert set(table["status"]) == {"FINISHED"}


def test_the_client_gives_each_metric_s_history(logged: Logged) -> None:
    """A point for each epoch, in order; the machine's too, at the second of the run."""
    client = MlflowClient()
    run_id = _cells().iloc[0]["run_id"]
    history = client.get_metric_history(run_id, "test_acc")
    assert [(point.step, point.value) for point in history] == [(0, 0.2), (1, 0.3), (2, 0.4)]
    (measured,) = {point.value for point in client.get_metric_history(run_id, "system/cpu_utilization_percentage")}
    assert measured == 12.5


def test_the_client_gives_the_data_of_a_run(logged: Logged) -> None:
    """Name, digest, context, and the form of images and labels as MLflow writes it for arrays."""
    (used,) = MlflowClient().get_run(_cells().iloc[0]["run_id"]).inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("digits", "0123456789abcdef")
    assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "train")]
    schema = json.loads(used.dataset.schema)["mlflow_tensorspec"]
    assert json.loads(schema["features"])[0]["tensor-spec"] == {"dtype": "uint8", "shape": [-1, 1, 8, 8]}
    assert json.loads(used.dataset.profile)["images"] == 64


def test_artifacts_are_loaded_and_downloaded(logged: Logged, tmp_path: Path) -> None:
    """The leaderboard as a dictionary; a checkpoint byte for byte, by API and by command."""
    client = MlflowClient()
    run = _cells().iloc[0]
    study_run = run["tags.tracker.study_run_id"]
    board = mlflow.artifacts.load_dict(f"{client.get_run(study_run).info.artifact_uri}/leaderboard/best_acc.json")
    assert board == {"metric": "best_acc"}
    file = mlflow.artifacts.download_artifacts(run_id=run["run_id"], artifact_path="checkpoint/best.safetensors")
    assert Path(file).read_bytes() == b"\1" * 100
    arguments = ("--run-id", run["run_id"], "--artifact-path", "checkpoint", "--dst-path", str(tmp_path))
    _mlflow(logged, "artifacts", "download", *arguments)
    assert (tmp_path / "checkpoint" / "best.safetensors").read_bytes() == b"\1" * 100


def test_the_command_line_lists_experiments_runs_and_artifacts(logged: Logged) -> None:
    """`mlflow experiments search`, `mlflow runs list`, `mlflow runs describe`, `mlflow artifacts list`."""
    assert NAME in _mlflow(logged, "experiments", "search")
    listed = _mlflow(logged, "runs", "list", "--experiment-id", logged.experiment_id)
    for name in (*logged.cells, f"study: {NAME}"):
        assert name in listed
    run_id = _cells().iloc[0]["run_id"]
    described = json.loads(_mlflow(logged, "runs", "describe", "--run-id", run_id))
    assert described["data"]["params"]["normalization"] == "minmax"
    artifacts = json.loads(_mlflow(logged, "artifacts", "list", "--run-id", run_id, "--artifact-path", "checkpoint"))
    assert [entry["path"] for entry in artifacts] == ["checkpoint/best.safetensors"]


def test_the_description_and_the_views_are_the_experiment_s(logged: Logged) -> None:
    """Any client finds the question, how much is done, links to the pages, and two views as JSON."""
    experiment = mlflow.get_experiment_by_name(NAME)
    assert experiment is not None
    note = experiment.tags["mlflow.note.content"]
    assert note.startswith("**Can others read it?**")
    for words in ("2 cells, being swept since", "Curves, averaged over seeds", f"#/experiments/{logged.experiment_id}"):
        assert words in note
    assert json.loads(experiment.tags["mlflow.sharedViewState.cells"])["orderByKey"] == "metrics.`best_acc`"
    assert json.loads(experiment.tags["mlflow.sharedViewState.curves"])["groupBy"]["aggregateFunction"] == "average"
