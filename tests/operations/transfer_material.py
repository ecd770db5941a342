"""A study half done, made without training: everything a bundle must carry; and what MLflow and Optuna say of it."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, ViewType
from optuna.storages import RDBStorage

from tests.prepared_store import with_store
from tracker.ledger.ledger import Ledger, local_url
from tracker.study.failures import Failure, RetryPolicy
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.study import Study
from tracker.tracking.run import open_run
from tracker.tracking.server.addresses import database_uri
from tracker.tracking.transfer.records import Ids
from tracker.tracking.writing import StudyTracking

NAME = "half"
METRICS = {"best_acc": 0.75, "last_acc": 0.5, "best_epoch": 1.0}
EPOCHS = 3
STATE = "state-000002-000000-0123456789abcdef.safetensors"


def half_study(name: str = NAME) -> Study:
    """Return a study of six cells that starts from a source of its own."""
    return parse_study(
        {
            "name": name,
            "question": "Does it arrive <whole> & unharmed?",
            "datasets": {"low": {"kind": "digits", "classes": [0, 1, 2], "image_size": 16}},
            "sources": {"low": {"dataset": "low", "epochs": 1}},
            "recipe": {"model": "resnet18", "dataset": "low", "source": "low", "epochs": EPOCHS},
            "axes": {"normalization": ["pretrain", "minmax"], "seed": [1, 2, 3]},
        },
        file="study of a test",
    )


@dataclass(frozen=True)
class Half:
    """What `make_half` made."""

    home: Home
    study: Study
    open_key: str
    """The run key of the cell that was stopped after its second epoch."""


def make_half(home: Home) -> Half:
    """Make a home with a study of which two cells are done, one failed, one stopped half-way and two wait.

    Beside them: the study's run, a source and another study's source, a run of a stranger in the
    trash with a value that is no number, and a registered model of versions 1 and 3.
    """
    study = half_study()
    uri = database_uri(home)
    with_store(home)
    client = MlflowClient(uri)
    for number, name in enumerate((study.name, "sources"), 1):  # where a server would put the files
        client.create_experiment(name, artifact_location=(home.artifacts / str(number)).as_uri())
    tracking = StudyTracking(uri, home, study)
    place = tracking.open()
    tracking.note(f"The leaderboard of #/experiments/{place.experiment_id}/runs/{place.run_id}")
    for identity, name in ((str(study.cells[0].source_id), "low"), ("0" * 12, "of another study")):
        tags = {"tracker.kind": "source", "tracker.source_id": identity}
        source = open_run(uri, home, "sources", name, key=f"source-{identity}-1", params={"epochs": 1}, tags=tags)
        source.log_epoch(0, {"test_acc": 0.5})
        source.log_file(_file(home, "source.safetensors", name.encode() * 100), "checkpoint")
        source.finish("FINISHED")
    open_key = ""
    with Ledger.local(home, policy=RetryPolicy(max_attempts=3, wait_seconds=0.0)) as ledger:
        ledger.enroll(study)
        ledger.set_place(study.name, place.experiment_id, place.run_id)
        for turn in range(4):
            claim = ledger.leases.claim(study.name, f"worker-{turn}")
            assert claim is not None
            (cell,) = [cell for cell in study.cells if cell.id == claim.cell_id]
            run = tracking.cell_run(cell, claim.run_key, {"worker": claim.worker}, token=claim.token)
            run.log_dataset("low", "f" * 16, "train", {"classes": 3, "channels": 1})
            run.log_dataset("low", "f" * 16, "test")
            for epoch in range(EPOCHS if turn < 2 else 2):
                run.log_epoch(epoch, {"test_acc": epoch / 10, "lr": 0.1**epoch}, time=1_700_000_000_000 + epoch)
            ledger.leases.set_run(claim, str(run.run_id))
            if turn < 2:
                run.log_metrics(METRICS)
                run.log_file(_file(home, "predictions.npz", os.urandom(300)), "predictions")
                run.log_file(_file(home, "a b ü.txt", b"same in each run"), "figures/deep")
                run.log_file(_file(home, "empty", b""))
                run.finish("FINISHED")
                ledger.leases.complete(claim, METRICS, run.run_id, 12.5)
            elif turn == 2:
                run.finish("FAILED", note="it broke")
                ledger.leases.fail(claim, Failure("exception", "ValueError", "it broke"))
            else:
                run.finish("KILLED")
                open_key = claim.run_key
                state = home.make(home.work / open_key) / STATE
                state.write_bytes(os.urandom(2_000))
                ledger.leases.release(claim, last_epoch=1)
    tracking.finish("KILLED")
    _strange_run(uri, place.experiment_id)
    _registered(uri, home, study, place.experiment_id)
    return Half(home, study, open_key)


def _file(home: Home, name: str, content: bytes) -> Path:
    path = home.make(home.root / "scratch") / name
    path.write_bytes(content)
    return path


def _strange_run(uri: str, experiment_id: str) -> None:
    """Make a run that this program would not: in the trash, with NaN, the same step twice and long values."""
    client = MlflowClient(uri)
    run = client.create_run(experiment_id, start_time=5, run_name="of a stranger")
    for step, value in ((3, math.nan), (3, 0.5), (-1, 1e300), (1 << 40, math.inf)):
        client.log_metric(run.info.run_id, "a metric/with signs", value, timestamp=step + 7, step=step)
    client.log_param(run.info.run_id, "long", "x" * 6_000)
    client.set_tag(run.info.run_id, "long", "ü" * 7_000)
    client.set_terminated(run.info.run_id, "KILLED", end_time=9)
    client.delete_run(run.info.run_id)


def _registered(uri: str, home: Home, study: Study, experiment_id: str) -> None:
    """Register three networks of the first run, and delete the second of them."""
    client = MlflowClient(uri)
    run = next(run for run in client.search_runs([experiment_id]) if run.info.status == "FINISHED")
    folder = home.make(home.root / "scratch" / "network")
    client.create_registered_model(study.name, {"owner": "me"}, "networks <of> this study")
    os.environ["MLFLOW_TRACKING_URI"] = uri  # a version is looked up there, whichever client makes it
    for version in (1, 2, 3):
        (folder / "MLmodel").write_text(f"run_id: {run.info.run_id}\nversion: {version}\n")
        model = client.create_logged_model(
            experiment_id, study.name, run.info.run_id, {"tracker.cell": "a"}, {"p": "1"}
        )
        client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, "READY")
        client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, version)])
        client.create_model_version(study.name, f"models:/{model.model_id}", run.info.run_id, {"n": str(version)},
                                    description=f"of run {run.info.run_id}", model_id=model.model_id,
                                    await_creation_for=0)  # fmt: skip
    del os.environ["MLFLOW_TRACKING_URI"]
    client.delete_model_version(study.name, "2")
    client.set_registered_model_alias(study.name, "champion", "3")


NOT_CARRIED = ("tracker.imported", "mlflow.modelVersions")
"""What the tags begin with that an import adds, and that a server writes itself."""


def in_mlflow(uri: str, name: str, ids: Ids | None = None) -> dict[str, Any]:
    """Return everything that MLflow's own client says of an experiment; ids rewritten by `ids`."""
    client = MlflowClient(uri, uri)
    rewrite = ids.rewrite if ids is not None else str
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    runs = {}
    for found in client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL, max_results=1_000):
        run = client.get_run(found.info.run_id)
        histories = {
            metric: sorted(
                (point.step, point.timestamp, repr(point.value))
                for point in client.get_metric_history(run.info.run_id, metric)
            )
            for metric in run.data.metrics
        }
        runs[rewrite(run.info.run_id)] = {
            "info": {
                key: value
                for key, value in dict(run.info).items()
                if key not in ("run_id", "run_uuid", "experiment_id", "artifact_uri")
            },
            "params": run.data.params,
            "tags": _tags(run.data.tags, rewrite),
            "latest": {key: repr(value) for key, value in run.data.metrics.items()},
            "histories": histories,
            "datasets": sorted(json.dumps(each.to_dictionary(), sort_keys=True) for each in run.inputs.dataset_inputs),
            "models": sorted((rewrite(made.model_id), made.step) for made in run.outputs.model_outputs),
        }
    models = {
        rewrite(model.model_id): (model.name, rewrite(model.source_run_id), str(model.status), model.params,
                                  _tags(model.tags, rewrite))
        for model in client.search_logged_models([experiment.experiment_id])
    }  # fmt: skip
    return {"tags": _tags(experiment.tags, rewrite), "runs": runs, "models": models}


def in_registry(uri: str, name: str, ids: Ids | None = None) -> dict[str, Any]:
    """Return everything that MLflow's own client says of a registered model."""
    client = MlflowClient(uri, uri)
    rewrite = ids.rewrite if ids is not None else str
    model = client.get_registered_model(name)
    return {
        "description": model.description,
        "tags": _tags(model.tags, rewrite),
        "aliases": {alias: int(version) for alias, version in model.aliases.items()},
        "versions": {
            int(found.version): (rewrite(found.source), rewrite(found.run_id), rewrite(found.description),
                                 _tags(found.tags, rewrite))
            for found in client.search_model_versions(f"name='{name}'")
        },
    }  # fmt: skip


def _tags(tags: dict[str, str], rewrite: Any) -> dict[str, str]:
    return {key: rewrite(value) for key, value in tags.items() if not key.startswith(NOT_CARRIED)}


def in_optuna(url: str, name: str, ids: Ids | None = None) -> list[dict[str, Any]]:
    """Return everything that Optuna says of a study's trials."""
    rewrite = ids.rewrite if ids is not None else str
    storage = RDBStorage(url)
    try:
        trials = optuna.load_study(study_name=name, storage=storage).trials
    finally:
        storage.remove_session()
        storage.engine.dispose()
    return [
        {
            "number": trial.number,
            "state": trial.state,
            "values": trial.values,
            "params": trial.params,
            "distributions": trial.distributions,
            "attributes": json.loads(rewrite(json.dumps(trial.user_attrs))),
            "start": trial.datetime_start,
            "complete": trial.datetime_complete,
        }
        for trial in trials
    ]


def in_ledger(home: Home, name: str, ids: Ids | None = None, url: str | None = None) -> list[dict[str, Any]]:
    """Return every row of a study's cells, without the ids that a database gives."""
    rewrite = ids.rewrite if ids is not None else str
    with Ledger(url or local_url(home)) as ledger:
        rows = ledger.rows(name, in_grid=False)
    return [
        {**vars(row), "trial_id": None, "run_id": row.run_id and rewrite(row.run_id), "expired": None} for row in rows
    ]


def mapping(old_uri: str, uri: str, name: str) -> Ids:
    """Return which id stands for which, old to new, as the tags of an import say."""
    client = MlflowClient(uri, uri)
    ids = Ids()
    for each in (name, "sources"):
        experiment, old = client.get_experiment_by_name(each), MlflowClient(old_uri).get_experiment_by_name(each)
        ids.experiments[old.experiment_id] = experiment.experiment_id
        for run in client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL):
            ids.runs[run.data.tags["tracker.imported_run"]] = run.info.run_id
        for model in client.search_logged_models([experiment.experiment_id]):
            ids.models[model.tags["tracker.imported_model"]] = model.model_id
    return ids
