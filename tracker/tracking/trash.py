"""What was deleted in MLflow, which only marks it, and how it goes for good: as `mlflow gc` does it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow.entities import ViewType

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.tracking.client import connect, shown, talking_to
from tracker.tracking.delivery import KEY_TAG
from tracker.tracking.destination import artifacts_folder
from tracker.tracking.locations import read_columns


@dataclass(frozen=True)
class Trashed:
    """A run, a logged model or an experiment that was deleted.

    Args:
        kind: run, model or experiment.
        key: of a run that this program made; "" otherwise.
        folder: where its files lie on this machine; None where they do not.
        experiment_id: it belongs to, or is.
    """

    kind: str
    id: str
    name: str
    key: str
    folder: Path | None
    experiment_id: str


@dataclass(frozen=True)
class Known:
    """Everything that MLflow's database knows, deleted or not.

    Args:
        folders: of each run's files, by its id; None where they do not lie on this machine.
    """

    folders: dict[str, Path | None]
    models: frozenset[str]


def trashed(home: Home, database_uri: str, older_than: float) -> list[Trashed]:
    """Return what was deleted longer ago than so many seconds: runs and models first, then experiments.

    Raises:
        TrackingError: the database cannot be read.
    """
    milliseconds = int(older_than * 1000)
    found = []
    with talking_to(database_uri):
        store = _store(database_uri)
        for run_id in store._get_deleted_runs(older_than=milliseconds):
            run = store.get_run(run_id)
            folder, key = local_folder(home, run.info.artifact_uri), run.data.tags.get(KEY_TAG, "")
            found.append(Trashed("run", run_id, run.info.run_name, key, folder, run.info.experiment_id))
        for model_id in store._get_deleted_logged_models(older_than=milliseconds):
            model = store.get_logged_model(model_id, allow_deleted=True)
            folder = local_folder(home, model.artifact_location)
            found.append(Trashed("model", model_id, model.name, "", folder, model.experiment_id))
        limit = time.time() * 1000 - milliseconds
        for experiment in _experiments(store, ViewType.DELETED_ONLY):
            if experiment.last_update_time is not None and experiment.last_update_time <= limit:
                place = local_folder(home, experiment.artifact_location)
                found.append(
                    Trashed(
                        "experiment", experiment.experiment_id, experiment.name, "", place, experiment.experiment_id
                    )
                )
    return found


def known(home: Home, database_uri: str) -> Known:
    """Return everything that the database knows.

    Raises:
        TrackingError: the database cannot be read.
    """
    runs = read_columns(database_uri, "runs", "run_uuid", "artifact_uri")  # search_runs would read every metric too
    models = read_columns(database_uri, "logged_models", "model_id")
    folders = {str(run_id): local_folder(home, str(place or "")) for run_id, place in runs}
    return Known(folders, frozenset(str(model_id) for (model_id,) in models))


def delete_for_good(database_uri: str, item: Trashed) -> None:
    """Remove the rows of one deleted thing; its files went before, so that a kill in between leaves it deleted.

    Raises:
        TrackingError: it was taken out of the trash meanwhile, or the database cannot be changed.
    """
    with talking_to(database_uri):
        store = _store(database_uri)
        if item.kind == "run":
            if store.get_run(item.id).info.lifecycle_stage != "deleted":
                raise TrackingError(f"run {item.id} was restored meanwhile", "nothing to do: it stays")
            store._hard_delete_run(item.id)
        elif item.kind == "model":
            store._hard_delete_logged_model(item.id)
        elif store.search_runs([item.id], "", ViewType.ALL, max_results=1):
            raise TrackingError(f"experiment {item.name} still has runs", "nothing to do: it stays with them")
        else:
            store._hard_delete_experiment(item.id)


def is_still_deleted(database_uri: str, item: Trashed) -> bool:
    """Say whether a thing is where it was found: in the trash."""
    with talking_to(database_uri):
        store = _store(database_uri)
        if item.kind == "run":
            return bool(store.get_run(item.id).info.lifecycle_stage == "deleted")
        if item.kind == "model":
            return item.id in store._get_deleted_logged_models()
        return bool(store.get_experiment(item.id).lifecycle_stage == "deleted")


def local_folder(home: Home, place: str) -> Path | None:
    """Return where files that MLflow names lie below this home; None where they do not."""
    parts = urlsplit(place)
    if parts.scheme == "mlflow-artifacts":
        served = artifacts_folder(home)
        if served is None:
            return None
        path = served / unquote(parts.path).lstrip("/")
    elif parts.scheme in ("", "file"):
        path = Path(unquote(parts.path) if parts.scheme else place)
    else:
        return None
    if ".." in path.parts or not path.is_relative_to(home.root) or path == home.root:
        return None
    return path


def _store(database_uri: str) -> Any:
    """Return MLflow's store behind a database; a server's client has none of what is needed here."""
    store = connect(database_uri)._tracking_client.store
    if not hasattr(store, "_hard_delete_run"):
        raise TrackingError(f"MLflow at {shown(database_uri)} deletes nothing for good: it is no database")
    return store


def _experiments(store: Any, view: str) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = store.search_experiments(view_type=view, max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found
