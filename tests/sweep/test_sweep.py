"""The main job with real parts: processes, an MLflow server, SQLite, training."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

from tests.sweep.conftest import artifact, ask_tracker, run_tracker, runs_of
from tracker.study.home import Home
from tracker.study.load import load_study
from tracker.tracking.client import talking_to
from tracker.tracking.reading import read_study
from tracker.tracking.server.addresses import database_uri
from tracker.tracking.server.lifecycle import status
from tracker.vision.checkpoint import load_classifier
from tracker.vision.datasets import open_dataset

Swept = tuple[Path, Path, subprocess.CompletedProcess[str]]


def test_a_sweep_ends_with_its_leaderboard(swept: Swept) -> None:
    """Results are on stdout, progress on stderr; every setting is in the table; the way on is named."""
    _, _, done = swept
    for setting in ("pretrain", "finetune", "instance", "minmax"):
        assert setting in done.stdout
    assert "best_acc" in done.stdout
    assert "[4/4]" in done.stderr
    assert "tracker ui" in done.stderr
    assert "checking dataset high" not in done.stdout


def test_every_cell_is_one_finished_run_with_its_numbers(swept: Swept) -> None:
    """Params are the recipe, tags say where it ran, metrics are there for every epoch under their names."""
    home, study, _ = swept
    cells = {cell.id: cell for cell in load_study(str(study)).cells}
    runs = runs_of(home)
    assert {run.cell_id for run in runs} == set(cells)
    assert len(runs) == 4
    for run in runs:
        cell = cells[run.cell_id or ""]
        assert run.status == "FINISHED"
        assert run.name == cell.name
        assert run.params["normalization"] == cell.recipe.normalization
        assert run.params["epochs"] == "2"
        for tag in ("device", "dataset.fingerprint", "source.fingerprint", "tracker.study"):
            assert run.tags[tag]
        assert run.tags["tracker.test_images"] == "60"
        assert run.metrics["best_acc"] >= max(run.metrics["last_acc"], run.metrics["selected_acc"])
        with talking_to(database_uri(Home(home))) as client:
            history = client.get_metric_history(run.run_id, "test_acc")
        assert [point.step for point in history] == [0, 1]
        assert max(point.value for point in history) == run.metrics["best_acc"]


def test_the_stored_checkpoint_repeats_the_stored_predictions(swept: Swept) -> None:
    """The checkpoint of the best epoch, fed with raw bytes, predicts what the run recorded and its best_acc says."""
    home, study, _ = swept
    cell_of = {cell.id: cell for cell in load_study(str(study)).cells}
    looked_at = 0
    for run in runs_of(home):
        cell = cell_of[run.cell_id or ""]
        classifier, facts = load_classifier(artifact(home, run, "checkpoint/best.safetensors"))
        with np.load(artifact(home, run, "predictions/predictions.npz"), allow_pickle=False) as stored:
            arrays = dict(stored)
        images = open_dataset("high", cell.dataset, Home(home))
        with torch.no_grad():
            predicted = classifier(torch.from_numpy(images.test.images[arrays["index"]])).argmax(1).numpy()
        assert (predicted == arrays["best"]).mean() > 0.98  # other batch sizes may round a tie differently
        assert np.array_equal(arrays["labels"], images.test.labels[arrays["index"]])
        assert (arrays["best"] == arrays["labels"]).mean() == pytest.approx(run.metrics["best_acc"])
        assert (arrays["last"] == arrays["labels"]).mean() == pytest.approx(run.metrics["last_acc"])
        assert (arrays["selected"] == arrays["labels"]).mean() == pytest.approx(run.metrics["selected_acc"])
        assert (facts.identity, facts.normalization) == (cell.id, cell.recipe.normalization)
        looked_at += 1
    assert looked_at == 4


def test_a_cell_brings_its_pictures(swept: Swept) -> None:
    """Learning curve and confusion matrix are PNG files of the run."""
    home, _, _ = swept
    for run in runs_of(home):
        for name in ("learning_curve", "confusion_matrix"):
            assert artifact(home, run, f"figures/{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_grid_is_one_optuna_study_of_categorical_trials(swept: Swept) -> None:
    """Plain Optuna reads the grid: one complete trial a cell, categorical parameters, best_acc as its value."""
    home, _, _ = swept
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{home / 'trials.db'}")
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
    by_cell = {run.cell_id: run for run in runs_of(home)}
    assert len(study.trials) == 4
    for trial in study.trials:
        choices = trial.distributions["normalization"]
        assert isinstance(choices, optuna.distributions.CategoricalDistribution)
        assert choices.choices == ("pretrain", "finetune", "instance", "minmax")
        run = by_cell[trial.user_attrs["cell_id"]]
        assert trial.params["normalization"] == run.params["normalization"]
        assert trial.value == pytest.approx(run.metrics["best_acc"])


def test_the_source_is_a_tracked_run_that_records_its_statistics(swept: Swept) -> None:
    """The pre-training is a run of the experiment `sources`, with u0 and std0; cells name the source they used."""
    home, study, _ = swept
    with talking_to(database_uri(Home(home))) as client:
        experiment = client.get_experiment_by_name("sources")
        assert experiment is not None
        (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert re.fullmatch(r"0\.\d{4}", run.data.tags["u0"])
    assert re.fullmatch(r"0\.\d{4}", run.data.tags["std0"])
    cell = load_study(str(study)).cells[0]
    assert (home / "sources" / "low" / f"mobilenet_v3_small-{cell.source_id}.safetensors").is_file()
    assert all(cell.source_id in record.tags["source.fingerprint"] for record in runs_of(home))


def test_the_studys_run_carries_leaderboard_and_history(swept: Swept) -> None:
    """The study's own run is finished and holds the tables, the figure, the definition and a description."""
    home, study, _ = swept
    record = read_study(database_uri(Home(home)), "small")
    folder = next((home / "artifacts").glob(f"*/{record.run_id}/artifacts"))
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        "leaderboard/leaderboard.md", "leaderboard/leaderboard.csv", "leaderboard/leaderboard.json",
        "figures/history.png",
    }  # fmt: skip
    assert record.document == json.loads(json.dumps(load_study(str(study)).document()))
    with talking_to(database_uri(Home(home))) as client:
        run = client.get_run(record.run_id)
    assert run.info.status == "FINISHED"
    assert "Does a small study run whole?" in run.data.tags["mlflow.note.content"]


def test_the_server_a_sweep_started_ends_with_it(swept: Swept) -> None:
    """Nothing stays behind: no server, no journal, no half-done files."""
    home, _, _ = swept
    assert not status(Home(home)).running
    assert not list((home / "journal").iterdir())
    assert not list((home / "work").iterdir())


def test_a_dry_run_writes_nothing(tmp_path: Path, swept: Swept) -> None:
    """The grid is printed with done and to do; no folder, database or server appears."""
    home, study, _ = swept
    dry = ask_tracker(home, "sweep", "--study", str(study), "--axis", "seed=1,2", "--dry-run")
    assert re.search(r"cells\s+8: 4 done, 4 to do", dry.stdout)
    assert re.search(r"estimated time\s+about 0:\d\d \(4 from cells already run\)", dry.stdout)
    empty = tmp_path / "mlruns"
    ask_tracker(empty, "sweep", "--study", str(study), "--dry-run")
    assert not empty.exists()


@pytest.mark.soak  # test_until_decided.py grows a study each time
def test_a_grown_study_runs_only_what_is_missing(swept: Swept, tmp_path: Path) -> None:
    """Another seed is four more cells; the old ones are not touched. Swept again, a complete study is only shown."""
    home = tmp_path / "mlruns"
    shutil.copytree(swept[0], home)
    before = {run.run_id for run in runs_of(home)}
    grown = run_tracker(home, "sweep", "--study", str(swept[1]), "--axis", "seed=1,2", "--workers", "2")
    assert "8 cells, 4 done, 4 to do" in grown.stderr
    runs = runs_of(home)
    assert len(runs) == 8
    assert before < {run.run_id for run in runs}
    assert "n = 2" in grown.stdout
    again = ask_tracker(home, "sweep", "--study", str(swept[1]), "--axis", "seed=1,2")
    assert "8 done, 0 to do" in again.stderr
    assert len(runs_of(home)) == 8
    assert again.stdout == grown.stdout
