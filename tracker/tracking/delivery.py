"""Carry events to MLflow, so that carrying them twice changes nothing."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import requests
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException

from tracker.study.errors import TrackingError
from tracker.study.faults import reach
from tracker.tracking.artifacts import holds, names, place, repository
from tracker.tracking.batches import leading, metrics_of, tags_of
from tracker.tracking.client import connect, short, waiting
from tracker.tracking.events import Data, Event, File, Finish, Metrics, Open, Tags

KEY_TAG = "tracker.attempt"
ENDED_TAG = "tracker.ended"
OPENING_TAG = "tracker.token"
CALL_SECONDS = 3
"""A call takes 10 ms; a training waits this long for one that hangs, and then goes on without it."""
BATCH_SECONDS = 20
"""The same for a call with many events, once the server has just answered a small one."""
UPLOAD_SECONDS = 120
"""The same for a file."""
MAX_UPLOADS = 3
"""Tries at a file whose stored copy differs, before it is given up."""
RACES = 5
"""Tries at naming a dataset; each that is lost means that another run has named one in between."""

log = logging.getLogger(__name__)


class Undelivered(Exception):
    """The server is away or overloaded: try again later."""


class Differs(Undelivered):
    """The stored copy of a file is not the file: try again at once."""


class Refused(Exception):
    """The server will not have this, now or later."""


class Delivery:
    """The way from one run's events to MLflow.

    A run may have been opened again elsewhere while its events waited here: its token is then
    larger than theirs. They only add to it what is missing, metrics and files; its tags and its
    status belong to whoever opened it last.

    Args:
        uri: of the tracking server.
        folder: what `File` paths start from.
        own: this process's own opening of the run, where its token is a clock's, which may have jumped back:
            nobody else's comes after it.
        last_out: says whether a shared run ends with this process.
    """

    def __init__(
        self,
        uri: str,
        folder: Path,
        own: Open | None = None,
        last_out: Callable[[], AbstractContextManager[bool]] = lambda: nullcontext(True),
    ) -> None:
        self.uri = uri
        self.folder = folder
        self.run_id: str | None = None
        self.experiment_id: str | None = None
        self.start_time: int | None = None
        self._own = own
        self._last_out = last_out
        self._artifact_uri = ""
        self._opened: Open | None = None
        self._late = False
        self._singly = 0
        self._differing: Counter[str] = Counter()

    def deliver(self, events: Sequence[Event]) -> int:
        """Send the first event, and those after it that fit into the same call; return how many. Safe to repeat.

        After a call that failed one event goes alone: it finds out in seconds whether the server
        is back, or which event of many it will not have.

        Raises:
            Undelivered: no answer, or one that promises better times (5xx, 408, 429, missing credentials).
            Refused: any other answer, or a file that is gone; concerns the first event alone.
        """
        batch = leading(events) if self._singly == 0 and self.run_id is not None else []
        if len(batch) > 1:
            try:
                with self._verdicts(), waiting(BATCH_SECONDS):
                    self._log(connect(self.uri), batch)
            except Refused:
                self._singly = len(batch)
            else:
                return len(batch)
        self._singly = max(0, self._singly - 1)
        with self._verdicts(), waiting(CALL_SECONDS):
            self._send(connect(self.uri), events[0])
        return 1

    @contextmanager
    def _verdicts(self) -> Iterator[None]:
        """Say of whatever goes wrong whether it is worth another try."""
        try:
            yield
        except MlflowException as error:
            raise self._verdict(error, error.get_http_status_code()) from error
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 500
            raise self._verdict(error, status) from error
        except FileNotFoundError as error:
            raise Refused(f"{error.filename} is gone") from error
        except OSError as error:  # requests' connection errors are OSErrors too
            self._singly = max(1, self._singly)
            raise Undelivered(short(error)) from error

    def _verdict(self, error: Exception, status: int) -> Exception:
        if 400 <= status < 500 and status not in (401, 403, 408, 429):
            return Refused(short(error))
        self._singly = max(1, self._singly)
        return Undelivered(short(error))

    def _send(self, client: MlflowClient, event: Event) -> None:
        if isinstance(event, Open):
            return self._open(client, event)
        if self.run_id is None:
            raise Undelivered("the run could not be created")
        if isinstance(event, (Metrics, Tags)):
            self._log(client, [event])
        elif isinstance(event, Data):
            self._name_dataset(client, event)
        elif isinstance(event, File):
            client.get_run(self.run_id)  # a server that hangs is found out in seconds, not in UPLOAD_SECONDS
            self._store(client, event)
        else:
            self._finish(client, event)
        return None

    def _log(self, client: MlflowClient, events: Sequence[Event]) -> None:
        metrics, tags = metrics_of(events), [] if self._late else tags_of(events)
        if metrics or tags:
            client.log_batch(self.run_id, metrics=metrics, tags=tags, synchronous=True)

    def _name_dataset(self, client: MlflowClient, event: Data) -> None:
        """Name the run's dataset, again if another run has just brought the same one.

        Of two runs that bring a new dataset at once MLflow refuses the slower with a database error
        (its look for the row and its insert are not one step); told again, it finds the row.
        """
        dataset = Dataset(event.name, event.digest, "local", event.source, event.schema, event.profile)
        context = InputTag("mlflow.data.context", event.context)
        for left in reversed(range(RACES)):
            try:
                client.log_inputs(self.run_id, [DatasetInput(dataset, [context])])
                return
            except MlflowException as error:
                words = str(error).lower()
                if left == 0 or not ("unique" in words or "duplicate" in words):  # in a database's own words
                    raise

    def _store(self, client: MlflowClient, event: File) -> None:
        """Upload a file, and compare the stored copy with it before it counts as delivered."""
        file = self.folder / event.path
        if not file.resolve().is_relative_to(self.folder.resolve()):  # a journal that came with somebody else's home
            raise Refused(f"{event.path} is not one of the journal's own files")
        with waiting(UPLOAD_SECONDS):
            with _any_store():
                store = repository(self.uri, self._artifact_uri)
                if self._late and place(event.folder, file.name) in names(store, event.folder):
                    return
                store.log_artifact(str(file), event.folder or None)
            reach("file-sent")
            with _any_store():
                same = holds(store, file, event.folder, self.folder)
        if not same:
            self._differing[event.path] += 1
            what = f"the stored copy of {place(event.folder, file.name)} differs from the file"
            if self._differing[event.path] >= MAX_UPLOADS:
                raise Refused(f"{what} after {MAX_UPLOADS} uploads; the file is kept as {file}")
            raise Differs(what)

    def _open(self, client: MlflowClient, event: Open) -> None:
        self._opened = event
        self.experiment_id = ensure_experiment(client, event.experiment, event.experiment_tags)
        # Creating a run is the one call that must not be repeated, so an earlier try is looked for first.
        run = find_run(client, self.experiment_id, event.key)
        tags = {**event.tags, KEY_TAG: event.key, OPENING_TAG: str(event.token)}
        if run is None:
            run = client.create_run(self.experiment_id, event.start_time, tags, event.name)
        elif run.info.lifecycle_stage == "deleted":
            log.warning("the run %s of %s had been deleted in MLflow; it is restored", run.info.run_id, event.name)
            client.restore_run(run.info.run_id)
        self.run_id = run.info.run_id
        self.start_time = run.info.start_time
        self._artifact_uri = run.info.artifact_uri
        self._late = event is not self._own and _token(run) > event.token
        if self._late:
            return
        if run.info.status != "RUNNING":
            client.update_run(self.run_id, status="RUNNING")
        if ENDED_TAG in run.data.tags:
            client.delete_tag(self.run_id, ENDED_TAG)
        params = [Param(key, value) for key, value in event.params.items()]
        client.log_batch(self.run_id, params=params, tags=[RunTag(*tag) for tag in tags.items()], synchronous=True)

    def _finish(self, client: MlflowClient, event: Finish) -> None:
        assert self._opened is not None
        if self._opened.shared:
            with self._last_out() as last:
                if last and not self._late:
                    client.set_terminated(self.run_id, event.status, event.end_time)
        elif _token(client.get_run(self.run_id)) <= self._opened.token:
            client.set_terminated(self.run_id, event.status, event.end_time)


def find_run(client: MlflowClient, experiment_id: str, key: str) -> Run | None:
    """Return the run that was opened with `key`; one in MLflow's trash only where there is no other."""
    found = client.search_runs(
        [experiment_id],
        f"tags.`{KEY_TAG}` = '{key}'",
        run_view_type=ViewType.ALL,
        max_results=10,
        order_by=["attributes.start_time"],
    )
    return next(iter([run for run in found if run.info.lifecycle_stage == "active"] or found), None)


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


@contextmanager
def _any_store() -> Iterator[None]:
    """Take whatever an artifact store's library (S3, ...) raises for a store that is away."""
    try:
        yield
    except (MlflowException, OSError):
        raise
    except TrackingError as error:  # a place that is not used
        raise Refused(error.message) from error
    except Exception as error:
        raise Undelivered(short(error)) from error


def _token(run: Run) -> int:
    """Return the token of whoever opened the run last."""
    value = run.data.tags.get(OPENING_TAG, "")
    return int(value) if value.isdecimal() else 0
