"""Read studies and runs back from MLflow: all of them, however many pages that takes."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from tracker.study.errors import TrackingError
from tracker.study.plain import parse_json
from tracker.tracking.client import shown, talking_to
from tracker.tracking.delivery import KEY_TAG
from tracker.tracking.records import RunRecord, StudyRecord
from tracker.tracking.writing import read_document

PAGE = 1_000
"""MLflow gives at most so many runs at once and does not say that there are more, except by a token."""
EXPERIMENTS_A_QUERY = 500


def studies(uri: str) -> list[StudyRecord]:
    """Return every study, the one swept last first.

    Raises:
        TrackingError: MLflow does not answer.
    """
    with talking_to(uri) as client:
        ids: list[str] = []
        token = None
        while True:
            page = client.search_experiments(page_token=token)
            ids += [experiment.experiment_id for experiment in page]
            token = page.token
            if not token:
                break
        found: list[StudyRecord] = []
        for start in range(0, len(ids), EXPERIMENTS_A_QUERY):
            some = ids[start : start + EXPERIMENTS_A_QUERY]
            found += [_study(run) for run in search_all(client, some, "tags.`tracker.kind` = 'study'")]
    newest = {}
    for record in sorted(found, key=lambda record: record.swept_at):
        newest[record.name] = record
    return sorted(newest.values(), key=lambda record: record.swept_at, reverse=True)


def newest_study(uri: str) -> StudyRecord | None:
    """Return the study that was swept last; None if there is none. Raises: TrackingError."""
    return next(iter(studies(uri)), None)


def read_study(uri: str, name: str) -> StudyRecord:
    """Return the study `name`.

    Raises:
        TrackingError: there is none; lists those there are.
    """
    known = studies(uri)
    for record in known:
        if record.name == name:
            return record
    names = ", ".join(record.name for record in known) or "none"
    raise TrackingError(
        f"MLflow at {shown(uri)} has no study {name!r}",
        f"tracker sweep --study {name}, or one of those there are: {names}",
    )


def read_runs(uri: str, name: str) -> list[RunRecord]:
    """Return every cell run of the study, oldest first: finished, failed, killed and running.

    Raises:
        TrackingError: MLflow does not answer, or has no such study.
    """
    with talking_to(uri) as client:
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            raise TrackingError(f"MLflow at {shown(uri)} has no experiment {name!r}", f"tracker sweep --study {name}")
        runs = [
            run_record(run) for run in search_all(client, [experiment.experiment_id], "tags.`tracker.kind` = 'cell'")
        ]
    return sorted(runs, key=lambda run: run.start_time)


def read_histories(uri: str, run_ids: Sequence[str], metric: str) -> dict[str, list[tuple[int, float]]]:
    """Return (step, value) of one metric for each run, by step; empty where it was never logged.

    A step that was trained twice, since the first try was interrupted, counts with its last value.

    Raises:
        TrackingError: MLflow does not answer.
    """
    with talking_to(uri) as client, ThreadPoolExecutor(max_workers=8) as pool:

        def history(run_id: str) -> list[tuple[int, float]]:
            points = sorted(client.get_metric_history(run_id, metric), key=lambda point: point.timestamp)
            return sorted({point.step: point.value for point in points}.items())

        return dict(zip(run_ids, pool.map(history, run_ids), strict=True))


def search_all(client: MlflowClient, experiment_ids: list[str], query: str) -> Iterator[Run]:
    """Yield every run that fits the query, page by page."""
    token = None
    while True:
        with _uncollected():
            page = client.search_runs(experiment_ids, query, max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


@contextmanager
def _uncollected() -> Iterator[None]:
    """Put garbage collection off.

    MLflow makes 40 objects a run, all of which live on; looking through them again and again took
    two thirds of the time (2,048 runs: 3.3 s of CPU with it, 1.2 s without).
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _study(run: Run) -> StudyRecord:
    tags = run.data.tags
    name = tags.get("tracker.study", run.info.run_name)
    try:
        document = read_document(tags)
    except ValueError as error:
        raise TrackingError(
            f"the run {run.info.run_id} of study {name} has lost its definition: {error}",
            f"tracker sweep --study {name} writes it anew",
        ) from error
    return StudyRecord(
        name=name,
        experiment_id=run.info.experiment_id,
        run_id=run.info.run_id,
        document=document,
        state=run.info.status,
        swept_at=int(tags.get("tracker.swept_at", run.info.start_time)),
    )


def run_record(run: Run) -> RunRecord:
    """Return what is known of a run, in plain values."""
    return RunRecord(
        run_id=run.info.run_id,
        name=run.info.run_name,
        cell_id=run.data.tags.get("tracker.cell_id", ""),
        status=run.info.status,
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
        tags=dict(run.data.tags),
        start_time=run.info.start_time,
        end_time=run.info.end_time,
        key=run.data.tags.get(KEY_TAG, ""),
        artifact_uri=run.info.artifact_uri,
    )


def dataset_profile(uri: str, run_id: str) -> dict[str, Any]:
    """Return what a run says of the images it was trained on: classes, channels, image_size; {} where it does not.

    Raises:
        TrackingError: MLflow does not answer.
    """
    with talking_to(uri) as client:
        inputs = client.get_run(run_id).inputs
    for each in inputs.dataset_inputs if inputs is not None else ():
        try:
            profile = parse_json(each.dataset.profile or "{}")
        except ValueError:
            continue
        if isinstance(profile, dict) and "channels" in profile:
            return profile
    return {}
