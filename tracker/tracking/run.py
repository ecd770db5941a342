"""A run being written: journal first, MLflow as soon as it answers."""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tracker.study.faults import reach
from tracker.study.home import Home
from tracker.study.metrics import RANKING_METRICS
from tracker.tracking.batches import MAX_METRICS
from tracker.tracking.client import shown
from tracker.tracking.delivery import Delivery, Refused, Undelivered
from tracker.tracking.events import Event, File, Finish, Metrics, Open, Status, Tags, now
from tracker.tracking.inputs import dataset_event
from tracker.tracking.journal import Journal
from tracker.tracking.samples import Sample, of_an_epoch, sample_events
from tracker.tracking.server.addresses import store_name
from tracker.tracking.sharing import Company
from tracker.tracking.tags import cut_tags

SEND_SECONDS = 2.0
"""How long one call may spend on events that have piled up, so that a training never waits for more."""
FINISH_SECONDS = 30.0
"""The same at a run's end; where nothing listens it takes no time at all."""
MAX_PAUSE = 60.0
"""Seconds between two tries when the server has been away for long."""
NOTE = "mlflow.note.content"
KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")

log = logging.getLogger(__name__)


class TrackedRun:
    """One MLflow run. Every method writes to the journal first; none of them fails because a server is away.

    Make it with `open_run`, or `StudyTracking.cell_run`; end it with `finish`, or leave it with `abandon`.
    """

    def __init__(self, uri: str, journal: Journal, start: Open, by_clock: bool = True) -> None:
        self.name = start.name
        self.uri = uri
        self._journal = journal
        company = Company(journal.path.parent, start.key)
        if start.shared:
            company.join()
        self._delivery = Delivery(uri, journal.files, start if by_clock else None, company.last_out)
        # What an earlier process left of this run goes first. Sending it twice does no harm.
        self._pending: deque[Event] = deque(journal.events)
        self._last_step = max((event.step for event in journal.events if of_an_epoch(event)), default=0)
        self._opened_at = start.start_time
        self._samples: Callable[[], Sequence[Sample]] = tuple
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

    @property
    def pending(self) -> int:
        """How many events MLflow has not got yet."""
        return len(self._pending)

    def log_epoch(self, epoch: int, metrics: Mapping[str, float], time: int | None = None) -> int:
        """Log the metrics of one epoch, counted from 0, in one call; return the time they are logged with.

        Args:
            time: milliseconds since 1970. An epoch that was logged before, with the time it had
                then, is not doubled.
        """
        moment = now() if time is None else time
        self._last_step = epoch
        self._keep(Metrics(moment, epoch, _numbers(metrics)), sync=True)
        self._keep_samples()
        reach("epoch-journaled")
        self._try_to_send()
        reach("epoch-logged")
        return moment

    def log_history(self, history: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """Log again, in few calls, the epochs that earlier attempts have done: (time, metrics) of each, from 0.

        Whatever of it MLflow or another machine's journal has already is not doubled.
        """
        for epoch, (moment, metrics) in enumerate(history):
            self._last_step = epoch
            self._keep(Metrics(moment, epoch, _numbers(metrics)), sync=epoch == len(history) - 1)
        self._try_to_send()

    def sample(self, samples: Callable[[], Sequence[Sample]]) -> None:
        """Log what the machine does as well: with each epoch, in the same call, and at the end.

        Args:
            samples: returns what was measured since it was last called.
        """
        self._samples = samples

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics of the run; without a step they count as the last epoch's, which MLflow shows as latest."""
        self._record(Metrics(now(), self._last_step if step is None else step, _numbers(metrics)), sync=True)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags; the values are cut at what MLflow takes."""
        self._record(Tags(cut_tags(tags)))

    def note(self, markdown: str) -> None:
        """Set the run's description."""
        self.set_tags({NOTE: markdown})

    def log_dataset(
        self, name: str, fingerprint: str, context: str = "train", profile: Mapping[str, Any] | None = None
    ) -> None:
        """Name the image set that the run uses, for MLflow's dataset column.

        Args:
            context: "train", "test" or "val"; MLflow keeps one for each name and fingerprint.
            profile: numbers worth showing, as the count of images and classes; with `channels` and
                `image_size` MLflow shows the form of images and labels too.
        """
        self._record(dataset_event(name, fingerprint, context, profile or {}))

    def log_file(self, path: Path, folder: str = "") -> None:
        """Store a file with the run, under `folder`; it is kept until it has been sent and may go at once.

        Raises:
            TrackingError: there is no such file.
        """
        self._keep(File(self._journal.keep(path), folder), sync=False)
        reach("file-kept")
        self._try_to_send()

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
        self._keep_samples()
        self._keep(Finish(status, now()), sync=True)
        done = self._send(FINISH_SECONDS)
        self._close()
        return done

    def abandon(self) -> None:
        """Let go of a run that another worker goes on with: its status and tags are that one's now."""
        self._close()

    def _close(self) -> None:
        """Keep the journal for `replay`, or for a person to look at, or not at all."""
        if self._pending:
            self._journal.close()
        elif self._refused:
            self._journal.set_aside()
        else:
            self._journal.remove()

    def _keep_samples(self) -> None:
        for event in sample_events(self._samples(), self._delivery.start_time or self._opened_at):
            self._keep(event, sync=False)

    def _record(self, event: Event, sync: bool = False) -> None:
        self._keep(event, sync)
        self._try_to_send()

    def _keep(self, event: Event, sync: bool) -> None:
        self._journal.append(event, sync)
        self._pending.append(event)

    def _try_to_send(self) -> None:
        if time.monotonic() >= self._retry_at:
            self._send(SEND_SECONDS)

    def _send(self, budget: float) -> bool:
        """Deliver what is pending, in order, for at most about `budget` seconds; say whether all of it is."""
        deadline = time.monotonic() + budget
        while self._pending:
            sent = 1
            try:
                sent = self._delivery.deliver(list(islice(self._pending, MAX_METRICS)))
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
                    "MLflow at %s refused %s of %s: %s",
                    shown(self.uri),
                    type(self._pending[0]).__name__,
                    self.name,
                    error,
                )
                self._refused = True
            self._failures = 0
            for _ in range(sent):
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
    *,
    token: int | None = None,
    shared: bool = False,
) -> TrackedRun:
    """Begin a run, or go on with the one that was opened with the same key, here or on another machine.

    A run that had ended is RUNNING again, and one in MLflow's trash is taken out of it.

    Args:
        uri: from `tracking_session`.
        key: letters, digits, `.`, `_` and `-`; names the journal, and one run for ever.
        params: shown in MLflow's table; values as `str` gives them.
        experiment_tags: given to the experiment if it has to be created.
        token: grows with each opening of the key, as a lease's does: a process with a smaller one, however
            late it wakes up, changes nothing about the run's status and tags any more. None takes the time,
            which this process's own opening does not depend on.
        shared: several processes may have the run open at once; of those in this home the last
            one to finish decides how it ended.

    Writes: a journal under `home.journal`, and to MLflow if it answers.
    """
    if not KEY.fullmatch(key):
        raise ValueError(f"{key!r} cannot name a journal")
    opened = now()
    start = Open(
        key=key,
        store=store_name(home, uri),
        experiment=experiment_name,
        name=run_name,
        start_time=opened,
        params={name: str(value) for name, value in (params or {}).items()},
        tags=cut_tags(tags or {}),
        experiment_tags=dict(experiment_tags or {}),
        token=opened if token is None else token,
        shared=shared,
    )
    return TrackedRun(uri, Journal.claim(home.make(home.journal), key), start, by_clock=token is None)


def _numbers(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics as MLflow's pages should list them: in the order they are logged, the results first."""
    first = [name for name in RANKING_METRICS if name in metrics]
    return {name: float(metrics[name]) for name in dict.fromkeys([*first, *metrics])}
