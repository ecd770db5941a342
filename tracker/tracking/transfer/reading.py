"""Read an experiment out of MLflow, whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run, ViewType
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from pydantic import ValidationError

from tracker.study.errors import TrackingError
from tracker.tracking.artifacts import repository
from tracker.tracking.client import short, shown, talking_to
from tracker.tracking.delivery import UPLOAD_SECONDS
from tracker.tracking.reading import PAGE
from tracker.tracking.transfer.histories import histories
from tracker.tracking.transfer.records import (
    MovedDataset,
    MovedExperiment,
    MovedFile,
    MovedModel,
    MovedRegistered,
    MovedRun,
    MovedVersion,
)

RUNS_A_QUERY = 100

Record = TypeVar("Record")
Keep = Callable[[Path], tuple[str, int]]
"""Takes a file into the bundle and returns its SHA-256 and size."""


class ExperimentReader:
    """One experiment being read.

    Args:
        uri: of MLflow, a home's SQLite file included.
        keep: takes the content of a file.
        scratch: a folder for files on their way; the same file is never there twice at once.
        name: of the experiment.
    """

    def __init__(self, uri: str, keep: Keep, scratch: Path, name: str) -> None:
        self._uri = uri
        self._keep = keep
        self._scratch = scratch
        self.name = name
        self.left_out: list[str] = []
        with talking_to(uri) as client:
            experiment = client.get_experiment_by_name(name)
        if experiment is None:
            raise TrackingError(f"MLflow at {shown(uri)} has no experiment {name!r}", "`tracker status` lists studies")
        self._experiment: Experiment = experiment

    def runs(self) -> list[Run]:
        """Return all runs, those in MLflow's trash included, by start time and id."""
        with talking_to(self._uri) as client:
            found = list(all_runs(client, str(self._experiment.experiment_id)))
        return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))

    def run(self, run: Run) -> MovedRun:
        """Read a run's histories, inputs and files.

        Raises:
            TrackingError: MLflow does not answer, or a file cannot be had.
        """
        with talking_to(self._uri, UPLOAD_SECONDS) as client:
            whole = client.get_run(run.info.run_id)
            metrics = histories(client, whole)
            datasets = [
                MovedDataset(
                    name=each.dataset.name,
                    digest=each.dataset.digest,
                    source_type=each.dataset.source_type,
                    source=each.dataset.source,
                    columns=each.dataset.schema,
                    profile=each.dataset.profile,
                    tags={tag.key: tag.value for tag in each.tags},
                )
                for each in (whole.inputs.dataset_inputs if whole.inputs else ())
            ]
            outputs = whole.outputs.model_outputs if whole.outputs else ()
            return _checked(
                f"run {run.info.run_id}",
                lambda: MovedRun(
                    run_id=whole.info.run_id,
                    name=whole.info.run_name or "",
                    status=whole.info.status,
                    start_time=whole.info.start_time,
                    end_time=whole.info.end_time,
                    deleted=whole.info.lifecycle_stage == "deleted",
                    params=dict(sorted(whole.data.params.items())),
                    tags=dict(sorted(whole.data.tags.items())),
                    metrics=metrics,
                    datasets=datasets,
                    model_inputs=[used.model_id for used in (whole.inputs.model_inputs if whole.inputs else ())],
                    model_outputs=[(made.model_id, made.step) for made in outputs],
                    files=self._files(whole.info.artifact_uri, f"run {whole.info.run_id}"),
                ),
            )

    def experiment(self, run_ids: set[str]) -> MovedExperiment:
        """Read what the experiment has beside runs: tags, logged models, registered models.

        Args:
            run_ids: of its runs; a registered version belongs to the experiment if its run does.
        """
        with talking_to(self._uri, UPLOAD_SECONDS) as client:
            experiment_id = str(self._experiment.experiment_id)
            models = list(all_models(client, experiment_id))
            registered = _registered(client, self.name, run_ids)
            self._note_what_stays(client, experiment_id)
            return _checked(
                f"experiment {self.name}",
                lambda: MovedExperiment(
                    name=self.name,
                    experiment_id=experiment_id,
                    deleted=self._experiment.lifecycle_stage == "deleted",
                    tags=dict(sorted(self._experiment.tags.items())),
                    models=[
                        MovedModel(
                            model_id=model.model_id,
                            name=model.name,
                            model_type=model.model_type or None,
                            source_run_id=model.source_run_id or None,
                            status=str(model.status.value),
                            tags=dict(sorted(model.tags.items())),
                            params=dict(sorted(model.params.items())),
                            files=self._files(model.artifact_location, f"model {model.model_id}"),
                        )
                        for model in sorted(models, key=lambda model: model.model_id)
                    ],
                    registered=[self._registered(client, model, run_ids) for model in registered],
                ),
            )

    def _registered(self, client: MlflowClient, model: RegisteredModel, run_ids: set[str]) -> MovedRegistered:
        versions = []
        for version in client.search_model_versions(f"name='{model.name}'"):
            if version.run_id not in run_ids:
                self.left_out.append(f"{model.name} version {version.version}: its run is of another experiment")
                continue
            versions.append(
                MovedVersion(
                    version=int(version.version),
                    source=version.source,
                    run_id=version.run_id,
                    model_id=version.source.removeprefix("models:/") if version.source.startswith("models:/") else None,
                    description=version.description or None,
                    tags=dict(sorted(version.tags.items())),
                )
            )
        kept = {version.version for version in versions}
        return MovedRegistered(
            name=model.name,
            description=model.description or None,
            tags=dict(sorted(model.tags.items())),
            aliases={alias: int(version) for alias, version in sorted(model.aliases.items()) if int(version) in kept},
            versions=sorted(versions, key=lambda version: version.version),
        )

    def _note_what_stays(self, client: MlflowClient, experiment_id: str) -> None:
        """Say what an experiment can have that is not carried; this program makes none of it."""
        if client.search_traces(locations=[experiment_id], max_results=1):
            self.left_out.append(f"{self.name}: its traces")

    def _files(self, artifact_uri: str, owner: str) -> list[MovedFile]:
        """Take the files of a run or model into the bundle."""
        try:
            store = repository(self._uri, artifact_uri)
            found = []
            for path in sorted(_walk(store, "")):
                if isinstance(store, LocalArtifactRepository):
                    sha256, size = self._keep(Path(store.artifact_dir, path))
                else:
                    fetched = Path(store.download_artifacts(path, str(self._scratch)))
                    sha256, size = self._keep(fetched)
                    fetched.unlink()
                found.append(MovedFile(path=path, sha256=sha256, size=size))
            return found
        except (OSError, MlflowException) as error:
            raise TrackingError(f"MLflow at {shown(self._uri)}: files of {owner}: {short(error)}") from error


def all_runs(client: MlflowClient, experiment_id: str) -> Iterator[Run]:
    """Yield every run of an experiment, those in MLflow's trash included."""
    token = None
    while True:
        page = client.search_runs([experiment_id], "", ViewType.ALL, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def all_models(client: MlflowClient, experiment_id: str) -> Iterator[Any]:
    """Yield every logged model of an experiment."""
    token = None
    while True:
        page = client.search_logged_models([experiment_id], page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _registered(client: MlflowClient, study: str, run_ids: set[str]) -> list[RegisteredModel]:
    """Return the registered models of the study's name, and those with a version that a run of it made."""
    names = set()
    ids = sorted(run_ids)
    for start in range(0, len(ids), RUNS_A_QUERY):
        some = ", ".join(f"'{run_id}'" for run_id in ids[start : start + RUNS_A_QUERY])
        names |= {version.name for version in client.search_model_versions(f"run_id IN ({some})")}
    return [client.get_registered_model(name) for name in sorted(names)]


def _walk(store: ArtifactRepository, folder: str) -> Iterator[str]:
    for info in store.list_artifacts(folder or None):
        if info.is_dir:
            yield from _walk(store, info.path)
        else:
            yield info.path


def _checked(what: str, make: Callable[[], Record]) -> Record:
    """Make a record; what MLflow holds that cannot be carried is named."""
    try:
        return make()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise TrackingError(f"{what} cannot be exported: {place}: {first['msg']}") from error
