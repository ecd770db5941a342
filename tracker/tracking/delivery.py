"""Carry one event to MLflow, so that carrying it twice changes nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import requests
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from tracker.tracking.client import connect, short, waiting
from tracker.tracking.events import Data, Event, File, Metrics, Open, Tags

KEY_TAG = "tracker.attempt"
ENDED_TAG = "tracker.ended"
CALL_SECONDS = 3
"""A call takes 10 ms; a training waits this long for one that hangs, and then goes on without it."""
UPLOAD_SECONDS = 120
"""The same for a file, once the server has just answered a small call."""
RACES = 5
"""Tries at naming a dataset; each that is lost means that another run has named one in between."""

log = logging.getLogger(__name__)


class Undelivered(Exception):
    """The server is away or overloaded: try again later."""


class Refused(Exception):
    """The server will not have this, now or later."""


class Delivery:
    """The way from one run's events to MLflow.

    Args:
        uri: of the tracking server.
        folder: what `File` paths start from.
    """

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri = uri
        self.folder = folder
        self.run_id: str | None = None
        self.experiment_id: str | None = None

    def deliver(self, event: Event) -> None:
        """Send one event; safe to repeat.

        Raises:
            Undelivered: no answer, or one that promises better times (5xx, 408, 429, missing credentials).
            Refused: any other answer, or a file that is gone.
        """
        try:
            with waiting(CALL_SECONDS):
                self._send(connect(self.uri), event)
        except MlflowException as error:
            raise _verdict(error, error.get_http_status_code()) from error
        except requests.HTTPError as error:
            raise _verdict(error, error.response.status_code if error.response is not None else 500) from error
        except FileNotFoundError as error:
            raise Refused(f"{error.filename} is gone") from error
        except OSError as error:  # requests' connection errors are OSErrors too
            raise Undelivered(short(error)) from error

    def _send(self, client: MlflowClient, event: Event) -> None:
        if isinstance(event, Open):
            return self._open(client, event)
        if self.run_id is None:
            raise Undelivered("the run could not be created")
        if isinstance(event, Metrics):
            metrics = [Metric(name, value, event.time, event.step) for name, value in event.values.items()]
            client.log_batch(self.run_id, metrics=metrics, synchronous=True)
        elif isinstance(event, Tags):
            tags = [RunTag(key, value) for key, value in event.tags.items()]
            client.log_batch(self.run_id, tags=tags, synchronous=True)
        elif isinstance(event, Data):
            self._name_dataset(client, event)
        elif isinstance(event, File):
            client.get_run(self.run_id)  # a server that hangs is found out in seconds, not in UPLOAD_SECONDS
            self._upload(client, event)
        else:
            client.set_terminated(self.run_id, event.status, event.end_time)
        return None

    def _name_dataset(self, client: MlflowClient, event: Data) -> None:
        """Name the run's dataset, again if another run has just brought the same one.

        Of two runs that bring a new dataset at once MLflow refuses the slower with a database error
        (its look for the row and its insert are not one step); told again, it finds the row.
        """
        dataset = Dataset(event.name, event.digest, "local", event.source, None, event.profile)
        context = InputTag("mlflow.data.context", event.context)
        for left in reversed(range(RACES)):
            try:
                client.log_inputs(self.run_id, [DatasetInput(dataset, [context])])
                return
            except MlflowException as error:
                words = str(error).lower()
                if left == 0 or not ("unique" in words or "duplicate" in words):  # in a database's own words
                    raise

    def _upload(self, client: MlflowClient, event: File) -> None:
        try:
            with waiting(UPLOAD_SECONDS):
                client.log_artifact(self.run_id, str(self.folder / event.path), event.folder or None)
        except (MlflowException, OSError):
            raise
        except Exception as error:  # an artifact store of another kind (S3, ...) raises what its library raises
            raise Undelivered(short(error)) from error

    def _open(self, client: MlflowClient, event: Open) -> None:
        self.experiment_id = ensure_experiment(client, event.experiment, event.experiment_tags)
        # Creating a run is the one call that must not be repeated, so an earlier try is looked for first.
        found = client.search_runs(
            [self.experiment_id], f"tags.`{KEY_TAG}` = '{event.key}'", max_results=1, order_by=["attributes.start_time"]
        )
        tags = {**event.tags, KEY_TAG: event.key}
        if found:
            self.run_id = found[0].info.run_id
            if found[0].info.status != "RUNNING":
                client.update_run(self.run_id, status="RUNNING")
            if ENDED_TAG in found[0].data.tags:
                client.delete_tag(self.run_id, ENDED_TAG)
        else:
            created = client.create_run(self.experiment_id, event.start_time, tags, event.name)
            self.run_id = created.info.run_id
        params = [Param(key, value) for key, value in event.params.items()]
        client.log_batch(self.run_id, params=params, tags=[RunTag(*tag) for tag in tags.items()], synchronous=True)


def ensure_experiment(client: MlflowClient, name: str, tags: dict[str, str]) -> str:
    """Return the id of the experiment `name`; create it with `tags`, or take it out of MLflow's trash."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(
                client.create_experiment(name, tags={"mlflow.experimentKind": "custom_model_development", **tags})
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)  # another worker was quicker
    if experiment.lifecycle_stage == "deleted":
        log.warning("the experiment %r had been deleted in MLflow; it is restored, with its runs", name)
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def _verdict(error: Exception, status: int) -> Exception:
    final = 400 <= status < 500 and status not in (401, 403, 408, 429)
    return Refused(short(error)) if final else Undelivered(short(error))
