"""A study in MLflow: its experiment, its own run, and a run for each cell."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.study.plain import parse_json
from tracker.study.study import Cell, Study
from tracker.tracking.client import shown, talking_to
from tracker.tracking.delivery import ensure_experiment
from tracker.tracking.environment import environment_tags
from tracker.tracking.events import Status, now
from tracker.tracking.prepared_views import prepared_views
from tracker.tracking.records import RunRecord
from tracker.tracking.run import NOTE, TrackedRun, open_run
from tracker.tracking.server.addresses import browsed_at
from tracker.tracking.tags import MAX_TAG
from tracker.tracking.view import cell_tags, describe_begin, describe_state, describe_study, experiment_url

SOURCES = "sources"
"""The experiment that holds the runs of pre-training."""
DOCUMENT = "tracker.document"
MAX_EXPERIMENT_TAG = 19_900
"""MLflow takes 20,000 characters and refuses more."""

log = logging.getLogger(__name__)


def study_key(study_name: str) -> str:
    """Return the key of a study's own run."""
    return f"study-{study_name}"


@dataclass(frozen=True)
class StudyPlace:
    """Where a study lies in MLflow: what a worker needs to link its cells to it."""

    experiment_id: str
    run_id: str


class StudyTracking:
    """A study being swept.

    The process that sweeps calls `open` and `finish`; a worker process makes its own with the
    place that `open` returned, or none, and calls `cell_run` only: that needs no server.

    Args:
        uri: from `tracking_session`.
        place: from another process's `open`.
    """

    def __init__(self, uri: str, home: Home, study: Study, place: StudyPlace | None = None) -> None:
        self.uri = uri
        self.home = home
        self.study = study
        self.place = place
        self._run: TrackedRun | None = None

    @property
    def url(self) -> str:
        """The address of the study's table of runs, after `open`, for people and so without a password."""
        assert self.place is not None, "open() first"
        return experiment_url(browsed_at(self.uri), self.place.experiment_id)

    def open(self) -> StudyPlace:
        """Make or find the experiment and the study's run, describe both, and mark the run RUNNING.

        Sweeps of a study that run at once share its run. It is RUNNING until the last of this
        home's has finished, and ends as that one says; a sweep of another machine is not seen.

        Raises:
            TrackingError: MLflow does not answer; a sweep should not start then.
        """
        note = describe_study(self.study, state=describe_begin(self.study))
        experiment_id = self._describe_experiment(note)
        self._run = open_run(
            self.uri,
            self.home,
            experiment_name=self.study.name,
            run_name=f"study: {self.study.name}",
            key=study_key(self.study.name),
            tags={
                **environment_tags(),
                "worker": f"{socket.gethostname()}-{os.getpid()}",
                "tracker.kind": "study",
                "tracker.study": self.study.name,
                "tracker.swept_at": str(now()),
                NOTE: note,
                **document_tags(self.study.document()),
            },
            shared=True,
        )
        if not self._run.flush(10) or self._run.run_id is None:
            raise TrackingError(f"MLflow at {shown(self.uri)} does not take the study's run", "see the server's log")
        self.place = StudyPlace(experiment_id, self._run.run_id)
        self._describe(state=describe_begin(self.study))
        return self.place

    def cell_run(
        self, cell: Cell, run_key: str, tags: Mapping[str, str] | None = None, token: int | None = None
    ) -> TrackedRun:
        """Begin a cell's run, or go on with it: one run a key, on whatever machine it is opened.

        Args:
            run_key: the ledger's, the same for all attempts at the cell; letters, digits, dash.
            tags: added to those that name the cell: environment, device, worker.
            token: the claim's; what an attempt with an older one left behind does not end the run.
        """
        place = {"experiment_id": self.place.experiment_id, "run_id": self.place.run_id} if self.place else None
        return open_run(
            self.uri,
            self.home,
            experiment_name=self.study.name,
            run_name=cell.name,
            key=run_key,
            params=cell.recipe.model_dump(mode="json"),
            tags={**(tags or {}), **cell_tags(cell, self.study, place)},
            token=token,
        )

    def log_file(self, path: Path, folder: str = "") -> None:
        """Store a file with the study's run."""
        self._opened().log_file(path, folder)

    def note(self, markdown: str, *, headline: str | None = None, runs: Sequence[RunRecord] | None = None) -> None:
        """Put `markdown` into the description of the study's run and, if MLflow answers, of its experiment.

        Args:
            headline: the answer in a sentence, put first.
            runs: the cells' runs, from which the description says how much is done.
        """
        self._describe(markdown, headline, None if runs is None else describe_state(self.study, runs))

    def _describe(self, markdown: str | None = None, headline: str | None = None, state: str | None = None) -> None:
        assert self.place is not None, "open() first"
        text = describe_study(self.study, markdown, headline=headline, state=state, place=asdict(self.place))
        self._opened().note(text)
        try:
            self._describe_experiment(text)
        except TrackingError as error:
            log.warning("the description of experiment %s stays as it was: %s", self.study.name, error.message)

    def finish(self, status: Status) -> bool:
        """Let go of the study's run, the last sweep of this home ends it; say whether MLflow has everything."""
        return self._opened().finish(status)

    def _describe_experiment(self, note: str) -> str:
        tags = {NOTE: note[:MAX_EXPERIMENT_TAG], **prepared_views(self.study)}
        with talking_to(self.uri, seconds=20) as client:
            experiment_id = ensure_experiment(client, self.study.name, tags)
            for key, value in tags.items():
                client.set_experiment_tag(experiment_id, key, value)
        return experiment_id

    def _opened(self) -> TrackedRun:
        assert self._run is not None, "open() first"
        return self._run


def document_tags(document: Mapping[str, Any]) -> dict[str, str]:
    """Spread a study's document over as many tags as it needs."""
    text = json.dumps(document, separators=(",", ":"))
    chunks = [text[start : start + MAX_TAG] for start in range(0, len(text), MAX_TAG)]
    return {f"{DOCUMENT}.chunks": str(len(chunks)), **{f"{DOCUMENT}.{i}": chunk for i, chunk in enumerate(chunks)}}


def read_document(tags: Mapping[str, str]) -> dict[str, Any]:
    """Put the document together again.

    Raises:
        ValueError: a part is missing or damaged.
    """
    try:
        chunks = [tags[f"{DOCUMENT}.{i}"] for i in range(int(tags[f"{DOCUMENT}.chunks"]))]
        document = parse_json("".join(chunks))
    except KeyError as error:
        raise ValueError(f"tag {error} is missing") from error
    if not isinstance(document, dict):
        raise ValueError("the document is not a mapping")
    return document
