"""Files that another machine needs to go on: the training state of a cell, the checkpoint of a source.

They are not journaled: a state that did not get here costs epochs, not results.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.store.artifact.artifact_repo import ArtifactRepository

from tracker.study.errors import TrackingError
from tracker.tracking.artifacts import FILE_NAME, fetch, holds, names, place, repository
from tracker.tracking.client import connect, short, shown, talking_to, waiting
from tracker.tracking.delivery import CALL_SECONDS, UPLOAD_SECONDS, find_run
from tracker.tracking.reading import search_all
from tracker.tracking.writing import SOURCES

STATE = "state"
"""The folder among a run's artifacts."""

log = logging.getLogger(__name__)


class StateExchange:
    """The training state of one cell, left among the files of its run.

    Nothing here fails because a store is away: what could not be stored was not, and what cannot
    be fetched is not there. The log says so.

    Args:
        uri: of the tracking server.
        experiment: the study's name.
        run_key: of the cell's run.
    """

    def __init__(self, uri: str, experiment: str, run_key: str) -> None:
        self._uri = uri
        self._experiment = experiment
        self._run_key = run_key
        self._stored: set[str] = set()

    def store(self, files: Sequence[Path]) -> bool:
        """Upload files, compare the stored copies with them, and only then remove what lay there before.

        Returns:
            Whether all of them are there.
        """
        return self._try("store the state", lambda store: store is not None and self._replace(store, files))

    def fetch(self, folder: Path) -> list[Path]:
        """Download what is there.

        Writes: the files into `folder`, each in one piece.
        """
        fetched: list[Path] = []
        self._try("fetch the state", lambda store: store is not None and self._fetch(store, folder, fetched))
        return fetched

    def drop(self) -> bool:
        """Remove what is there; say whether nothing is left."""
        return self._try("remove the state", lambda store: store is None or _clear(store))

    def _try(self, what: str, act: Callable[[ArtifactRepository | None], bool]) -> bool:
        """Say whether `act` did it; it gets the store of the cell's run, None where MLflow knows no such run yet."""
        client = connect(self._uri)
        try:
            with waiting(CALL_SECONDS, retries=1):
                experiment = client.get_experiment_by_name(self._experiment)
                run = find_run(client, experiment.experiment_id, self._run_key) if experiment is not None else None
            with waiting(UPLOAD_SECONDS):
                return act(repository(self._uri, run.info.artifact_uri) if run is not None else None)
        except Exception as error:  # an artifact store of another kind (S3, ...) raises what its library raises
            log.warning("MLflow at %s cannot %s of %s: %s", shown(self._uri), what, self._run_key, short(error))
            return False

    def _replace(self, store: ArtifactRepository, files: Sequence[Path]) -> bool:
        there = names(store, STATE)
        for file in files:
            if place(STATE, file.name) in there and file.name in self._stored:
                continue
            store.log_artifact(str(file), STATE)
            if not holds(store, file, STATE, file.parent):
                store.delete_artifacts(place(STATE, file.name))
                log.warning("the stored copy of %s differs from the file and was removed", file)
                return False
            self._stored.add(file.name)
        for old in set(there) - {place(STATE, file.name) for file in files}:
            store.delete_artifacts(old)
        return True

    def _fetch(self, store: ArtifactRepository, folder: Path, fetched: list[Path]) -> bool:
        for stored in names(store, STATE):
            name = stored.removeprefix(f"{STATE}/")
            if FILE_NAME.fullmatch(name):
                fetch(store, stored, folder / name)
                fetched.append(folder / name)
            else:
                log.warning("%r among the files of run %s is no name for a file", name, self._run_key)
        return bool(fetched)


def _clear(store: ArtifactRepository) -> bool:
    if store.list_artifacts(STATE):
        store.delete_artifacts(STATE)
    return not store.list_artifacts(STATE)


def fetch_source(uri: str, source_id: str, path: Path) -> bool:
    """Download a source's checkpoint from the newest run that has pre-trained it; say whether there is one.

    Raises:
        TrackingError: MLflow does not answer.

    Writes: `path`, in one piece.
    """
    try:
        with talking_to(uri) as client:
            for run in _source_runs(client, source_id):
                store = repository(uri, run.info.artifact_uri)
                for stored in names(store, "checkpoint"):
                    if stored.endswith(".safetensors"):
                        with waiting(UPLOAD_SECONDS):
                            fetch(store, stored, path)
                        return True
    except OSError as error:  # requests' errors are OSErrors too
        raise TrackingError(f"MLflow at {shown(uri)}: source {source_id}: {short(error)}") from error
    return False


def _source_runs(client: MlflowClient, source_id: str) -> list[Run]:
    experiment = client.get_experiment_by_name(SOURCES)
    if experiment is None:
        return []
    query = f"tags.`tracker.source_id` = '{source_id}' and attributes.status = 'FINISHED'"
    runs = search_all(client, [experiment.experiment_id], query)
    return sorted(runs, key=lambda run: int(run.info.start_time), reverse=True)
