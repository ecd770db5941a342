"""Write an experiment into MLflow, so that doing it twice changes nothing.

Runs get new ids: MLflow takes none from a client. Each carries the id it had as a tag from the
moment it is created, which is how an import that was interrupted finds it again.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    Run,
    RunTag,
)
from mlflow.exceptions import MlflowException

from tracker.study.errors import TrackingError
from tracker.tracking.artifacts import holds, repository
from tracker.tracking.batches import MAX_METRICS, MAX_TAGS
from tracker.tracking.client import short, shown, talking_to
from tracker.tracking.delivery import KEY_TAG, UPLOAD_SECONDS, ensure_experiment
from tracker.tracking.transfer.reading import all_runs
from tracker.tracking.transfer.records import Ids, MovedExperiment, MovedFile, MovedRun

FROM_TAG = "tracker.imported_from"
"""Of an experiment and a registered model: the hash of the bundle's study that it was made from."""
ORIGIN_TAG = "tracker.imported_run"
"""Of a run: the id it had where it comes from."""
WHOLE_TAG = "tracker.imported"
"""Of a run and an experiment: set last, when everything is there."""
USER = "mlflow.user"
TRIES = 3
"""Looks at a stored file: the first before it is sent, then after each time."""

Item = TypeVar("Item")
Content = Callable[[MovedFile], Path]
"""Returns where the verified content of a file lies."""


class ExperimentWriter:
    """One experiment being made.

    Args:
        uri: of a tracking server.
        content: gives the files.
        scratch: a folder for files on their way.
        ids: is told every new id.
        origin: the hash of what is imported; None for the experiment that studies share.

    Raises:
        TrackingError: the experiment is there and was not made from this.
    """

    def __init__(
        self, uri: str, content: Content, scratch: Path, ids: Ids, name: str, experiment_id: str, origin: str | None
    ) -> None:
        self._uri = uri
        self._content = content
        self._scratch = scratch
        self._ids = ids
        self._origin = origin
        self.name = name
        self._runs: dict[str, Run] = {}
        with talking_to(uri, UPLOAD_SECONDS) as client:
            check_free(client, uri, name, origin)
            self.experiment_id = _experiment(client, name, origin)
            ids.experiments[experiment_id] = self.experiment_id
            self.was_whole = WHOLE_TAG in client.get_experiment(self.experiment_id).tags
            for run in all_runs(client, self.experiment_id):
                for known in (run.data.tags.get(ORIGIN_TAG), run.data.tags.get(KEY_TAG) if origin is None else None):
                    if known is not None:
                        self._runs.setdefault(known, run)

    def create(self, run: MovedRun) -> None:
        """Make the run if it is not there, so that its new id is known; everything else comes by `fill`."""
        found = self._runs.get(run.run_id) or self._runs.get(run.tags.get(KEY_TAG, ""))
        if found is None:
            with talking_to(self._uri, UPLOAD_SECONDS) as client:
                # The key makes it the run that a sweep here goes on with; MLflow asks for the user now or never.
                tags = {ORIGIN_TAG: run.run_id, **{key: run.tags[key] for key in (KEY_TAG, USER) if key in run.tags}}
                found = client.create_run(self.experiment_id, run.start_time, tags, run.name)
        self._runs[run.run_id] = found
        self._ids.runs[run.run_id] = found.info.run_id

    def is_whole(self, run_id: str) -> bool:
        """Say whether nothing of the run is missing: it was imported to its end, or was made here."""
        tags = self._runs[run_id].data.tags
        return WHOLE_TAG in tags or ORIGIN_TAG not in tags

    def fill(self, run: MovedRun) -> None:
        """Give a created run all it has; the mark that says so comes last.

        Raises:
            TrackingError: MLflow refuses something, or a stored file differs after it was sent.
        """
        if self.is_whole(run.run_id):
            return
        here = self._runs[run.run_id].info
        with talking_to(self._uri, UPLOAD_SECONDS) as client:
            if here.lifecycle_stage == "deleted":  # an import that was interrupted had put it there
                client.restore_run(here.run_id)
            tags = self._ids.rewritten(run.tags)
            self._log(client, here.run_id, run, tags)
            self._inputs(client, here.run_id, run)
            send_files(self._uri, here.artifact_uri, run.files, self._content, self._scratch, f"run {run.name}")
            self._end(client, here.run_id, run)
            self._compare(client, here.run_id, run, tags)
            client.set_tag(here.run_id, WHOLE_TAG, self._origin or run.run_id)
            if run.deleted:
                client.delete_run(here.run_id)

    def describe(self, experiment: MovedExperiment) -> None:
        """Give the experiment its tags: description, prepared view and whatever else."""
        with talking_to(self._uri, UPLOAD_SECONDS) as client:
            for key, value in self._ids.rewritten(experiment.tags).items():
                client.set_experiment_tag(self.experiment_id, key, value)

    def close(self, deleted: bool) -> None:
        """Mark the experiment as complete; one that lay in the trash goes back there."""
        with talking_to(self._uri, UPLOAD_SECONDS) as client:
            client.set_experiment_tag(self.experiment_id, WHOLE_TAG, self._origin or "")
            if deleted:
                client.delete_experiment(self.experiment_id)

    def _log(self, client: MlflowClient, run_id: str, run: MovedRun, tags: dict[str, str]) -> None:
        metrics = [
            Metric(name, value, timestamp, step)
            for name, points in run.metrics.items()
            for step, timestamp, value in points
        ]
        for some in _chunks(metrics, MAX_METRICS):
            client.log_batch(run_id, metrics=some, synchronous=True)
        for params in _chunks([Param(key, value) for key, value in run.params.items()], MAX_TAGS):
            client.log_batch(run_id, params=params, synchronous=True)
        for some_tags in _chunks([RunTag(key, value) for key, value in tags.items()], MAX_TAGS):
            client.log_batch(run_id, tags=some_tags, synchronous=True)

    def _inputs(self, client: MlflowClient, run_id: str, run: MovedRun) -> None:
        datasets = [
            DatasetInput(
                Dataset(each.name, each.digest, each.source_type, each.source, each.columns, each.profile),
                [InputTag(key, value) for key, value in each.tags.items()],
            )
            for each in run.datasets
        ]
        if datasets:
            client.log_inputs(run_id, datasets)  # those that are there are not doubled; links to models are refused
        if not (run.model_inputs or run.model_outputs):
            return
        there = client.get_run(run_id)
        used = {model.model_id for model in (there.inputs.model_inputs if there.inputs else ())}
        made = {model.model_id for model in (there.outputs.model_outputs if there.outputs else ())}
        models = [LoggedModelInput(new) for new in map(self._model, run.model_inputs) if new not in used]
        outputs = [
            LoggedModelOutput(new, step)
            for new, step in ((self._model(old), step) for old, step in run.model_outputs)
            if new not in made
        ]
        if models:
            client.log_inputs(run_id, models=models)
        if outputs:
            client.log_outputs(run_id, outputs)

    def _model(self, old: str) -> str:
        return self._ids.models.get(old, old)

    def _end(self, client: MlflowClient, run_id: str, run: MovedRun) -> None:
        if run.end_time is not None:  # a run that goes on shows where it was ended last
            client.set_terminated(run_id, run.status if run.status not in ("RUNNING", "SCHEDULED") else "KILLED",
                                  run.end_time)  # fmt: skip
        if run.end_time is None or run.status in ("RUNNING", "SCHEDULED"):
            client.update_run(run_id, status=run.status)

    def _compare(self, client: MlflowClient, run_id: str, run: MovedRun, tags: dict[str, str]) -> None:
        """Read the run back and compare it with what was to be written."""
        there = client.get_run(run_id)
        latest = {name: _latest(points) for name, points in run.metrics.items() if points}
        differing = [
            what
            for what, here, wanted in (
                ("name", there.info.run_name, run.name),
                ("status", there.info.status, run.status),
                ("start time", there.info.start_time, run.start_time),
                ("end time", there.info.end_time, run.end_time),
                ("params", there.data.params, run.params),
                ("tags", {key: there.data.tags.get(key) for key in tags}, tags),
                ("metrics", there.data.metrics.keys(), latest.keys()),
                ("datasets", len(there.inputs.dataset_inputs) if there.inputs else 0, len(run.datasets)),
            )
            if here != wanted
        ]
        differing += [name for name, value in latest.items() if not _same(there.data.metrics.get(name), value)]
        if differing:
            raise TrackingError(
                f"MLflow at {shown(self._uri)}: the run {run.name} ({run_id}) differs from the bundle after it was "
                f"written: {', '.join(differing)}",
                "end what else writes to this study, then import again",
            )


def check_free(client: MlflowClient, uri: str, name: str, origin: str | None) -> None:
    """See that an experiment is not there yet, or was begun by an import of the same.

    Args:
        origin: None for the experiment that studies share, which may be there.

    Raises:
        TrackingError: it holds something else.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None or origin is None or experiment.tags.get(FROM_TAG) == origin:
        return
    other = "another state of it was imported" if FROM_TAG in experiment.tags else "it was not imported"
    raise TrackingError(
        f"MLflow at {shown(uri)} has an experiment {name!r} already, and {other}; runs of two places are not mixed",
        f"import at another server; or rename the one there: mlflow experiments rename --experiment-id "
        f"{experiment.experiment_id} --new-name {name}-old",
    )


def _experiment(client: MlflowClient, name: str, origin: str | None) -> str:
    """Return the id of the experiment, made if need be, with nothing that it did not have."""
    if origin is not None and client.get_experiment_by_name(name) is None:
        return str(client.create_experiment(name, tags={FROM_TAG: origin}))
    return ensure_experiment(client, name, {})


def send_files(
    uri: str, artifact_uri: str, files: Sequence[MovedFile], content: Content, scratch: Path, owner: str
) -> None:
    """Store files, each compared with what the store gives back; those that are there and equal are not sent again.

    Raises:
        TrackingError: the store does not take one, or gives back something else.
    """
    try:
        store = repository(uri, artifact_uri)
        for file in files:
            folder, _, name = file.path.rpartition("/")
            with tempfile.TemporaryDirectory(dir=scratch, prefix="send-") as beside:
                path = Path(beside, name)
                path.symlink_to(content(file).absolute())
                for tried in range(TRIES):
                    if tried:
                        store.log_artifact(str(path), folder or None)
                    if holds(store, path, folder, scratch):
                        break
                else:
                    raise TrackingError(
                        f"MLflow at {shown(uri)}: the stored copy of {file.path} of {owner} differs from the bundle",
                        "look at the artifact store's disk, then import again",
                    )
    except (OSError, MlflowException) as error:
        raise TrackingError(f"MLflow at {shown(uri)}: files of {owner}: {short(error)}") from error


def _latest(points: Sequence[tuple[int, int, float]]) -> float:
    """Return the value that MLflow shows as a metric's latest."""
    return max(points, key=lambda point: (point[0], point[1], point[2]))[2]


def _same(one: float | None, other: float) -> bool:
    return one == other or (one is not None and math.isnan(one) and math.isnan(other))


def _chunks(items: list[Item], size: int) -> Iterator[list[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
