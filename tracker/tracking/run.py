"""A run being written: journal first, MLflow as soon as it answers."""

from __future__ import annotations

import json
import logging
import re
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracker.study.home import Home
from tracker.tracking.client import shown
from tracker.tracking.delivery import Delivery, Refused, Undelivered
from tracker.tracking.events import Data, Event, File, Finish, Metrics, Open, Status, Tags, now
from tracker.tracking.journal import Journal
from tracker.tracking.server import store_name

MAX_TAG = 7_900
"""MLflow takes 8,000 characters of a tag and silently drops the rest."""
SEND_SECONDS = 2.0
"""How long one call may spend on events that have piled up, so that a training never waits for more."""
MAX_PAUSE = 60.0
"""Seconds between two tries when the server has been away for long."""
NOTE = "mlflow.note.content"
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")

log = logging.getLogger(__name__)


class TrackedRun:
    """One MLflow run. Every method writes to the journal first; none of them fails because a server is away.

    Make it with `open_run`, or `StudyTracking.cell_run`; end it with `finish`.
    """

    def __init__(self, uri: str, journal: Journal, start: Open) -> None:
        self.name = start.name
        self.uri = uri
        self._journal = journal
        self._delivery = Delivery(uri, journal.files)
        # What an earlier process left of this run goes first. Sending it twice does no harm.
        self._pending: deque[Event] = deque(journal.events)
        self._last_step = max((event.step for event in journal.events if isinstance(event, Metrics)), default=0)
        self._failures = 0
        self._retry_at = 0.0
        self._refused = bool(journal.problems)
        for problem in journal.problems:
            log.warning("%s", problem)
        self._record(start, sync=True)

    @property
    def run_id(self) -> str | None:
        """MLflow's id; None until the server has heard of the run."""
        return self._delivery.run_id

    @property
    def experiment_id(self) -> str | None:
        """The experiment's id; None until the server has heard of the run."""
        return self._delivery.experiment_id

    @property
    def delivered(self) -> bool:
        """Whether MLflow has everything so far."""
        return not self._pending

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of one epoch, counted from 0, in one call."""
        self._last_step = epoch
        self._record(Metrics(now(), epoch, _numbers(metrics)), sync=True)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics of the run; without a step they count as the last epoch's, which MLflow shows as latest."""
        self._record(Metrics(now(), self._last_step if step is None else step, _numbers(metrics)), sync=True)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags; the values are cut at what MLflow takes."""
        self._record(Tags(_cut(tags)))

    def note(self, markdown: str) -> None:
        """Set the run's description."""
        self.set_tags({NOTE: markdown})

    def log_dataset(
        self, name: str, fingerprint: str, context: str = "train", profile: Mapping[str, Any] | None = None
    ) -> None:
        """Name the image set that the run uses, for MLflow's dataset column.

        Args:
            context: "train", "test" or "val"; MLflow keeps one for each name and fingerprint.
            profile: numbers worth showing, as the count of images and classes.
        """
        source = json.dumps({"dataset": name, "fingerprint": fingerprint})
        self._record(Data(name, fingerprint[:36], context, source, json.dumps(dict(profile or {}))))

    def log_file(self, path: Path, folder: str = "") -> None:
        """Store a file with the run, under `folder`; it is kept until it has been sent and may go at once.

        Raises:
            TrackingError: there is no such file.
        """
        self._record(File(self._journal.keep(path), folder))

    def flush(self, timeout: float) -> bool:
        """Try for `timeout` seconds to deliver everything; say whether MLflow has it."""
        deadline = time.monotonic() + timeout
        while not self._send(max(0.0, deadline - time.monotonic())):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(0.5, left))
        return True

    def finish(self, status: Status, note: str | None = None) -> bool:
        """End the run; say whether MLflow has everything. If not, `replay` delivers the rest.

        Args:
            note: replaces the description, as for what went wrong.
        """
        if note is not None:
            self.note(note)
        self._record(Finish(status, now()), sync=True, send=False)
        done = self._send(budget=30.0)
        if not done:
            self._journal.close()
        elif self._refused:
            self._journal.set_aside()
        else:
            self._journal.remove()
        return done

    def _record(self, event: Event, sync: bool = False, send: bool = True) -> None:
        self._journal.append(event, sync)
        self._pending.append(event)
        if send and time.monotonic() >= self._retry_at:
            self._send(SEND_SECONDS)

    def _send(self, budget: float) -> bool:
        """Deliver what is pending, in order, for at most about `budget` seconds; say whether all of it is."""
        deadline = time.monotonic() + budget
        while self._pending:
            event = self._pending[0]
            try:
                self._delivery.deliver(event)
            except Undelivered as error:
                if not self._failures:
                    log.warning(
                        "MLflow at %s: %s; results of %s are kept in %s until it is back",
                        shown(self.uri),
                        error,
                        self.name,
                        self._journal.path,
                    )
                self._failures += 1
                self._retry_at = time.monotonic() + min(2.0 ** (self._failures - 1), MAX_PAUSE)
                return False
            except Refused as error:
                log.warning(
                    "MLflow at %s refused %s of %s: %s", shown(self.uri), type(event).__name__, self.name, error
                )
                self._refused = True
            self._failures = 0
            self._pending.popleft()
            if time.monotonic() > deadline:
                break
        return not self._pending


def open_run(
    uri: str,
    home: Home,
    experiment_name: str,
    run_name: str,
    key: str,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    experiment_tags: Mapping[str, str] | None = None,
) -> TrackedRun:
    """Begin a run, or go on with the one that was opened with the same key.

    Args:
        uri: from `tracking_session`.
        key: letters, digits, `.`, `_` and `-`; names the journal, and one run for ever.
        params: shown in MLflow's table; values as `str` gives them.
        experiment_tags: given to the experiment if it has to be created.

    Writes: a journal under `home.journal`, and to MLflow if it answers.
    """
    if not KEY.fullmatch(key):
        raise ValueError(f"{key!r} cannot name a journal")
    start = Open(
        key=key,
        store=store_name(home, uri),
        experiment=experiment_name,
        name=run_name,
        start_time=now(),
        params={name: str(value) for name, value in (params or {}).items()},
        tags=_cut(tags or {}),
        experiment_tags=dict(experiment_tags or {}),
    )
    return TrackedRun(uri, Journal.claim(home.make(home.journal), key), start)


def _numbers(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def _cut(tags: Mapping[str, str]) -> dict[str, str]:
    """Cut long values at a line's end, and say so."""
    fitting = {}
    for name, value in tags.items():
        text = str(value)
        if len(text) > MAX_TAG:
            text = text[:MAX_TAG]
            text = text[: text.rfind("\n") if "\n" in text else None] + "\n\n(cut here)"
        fitting[name] = text
    return fitting
