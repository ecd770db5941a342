"""Runs that their workers left open: found, and ended."""

from __future__ import annotations

from tracker.tracking.client import talking_to
from tracker.tracking.delivery import ENDED_TAG
from tracker.tracking.events import Status
from tracker.tracking.reading import run_record, search_all
from tracker.tracking.records import RunRecord


def open_runs(uri: str, study_name: str) -> list[RunRecord]:
    """Return the runs that MLflow shows as RUNNING, cells' and the study's own, oldest first.

    Raises:
        TrackingError: MLflow does not answer.
    """
    return _runs(uri, study_name, "attributes.status = 'RUNNING'")


def runs_by_key(uri: str, study_name: str) -> dict[str, RunRecord]:
    """Return the study's runs, cells' and its own, by their key.

    Raises:
        TrackingError: MLflow does not answer.
    """
    found: dict[str, RunRecord] = {}
    for run in _runs(uri, study_name, ""):
        if run.key:
            found.setdefault(run.key, run)  # the oldest, as when it is opened again
    return found


def end_run(uri: str, run_id: str, status: Status, reason: str) -> None:
    """End a run whose worker is known to be gone, with a tag that says why.

    Raises:
        TrackingError: MLflow does not answer, or has no such run.
    """
    with talking_to(uri) as client:
        client.set_tag(run_id, ENDED_TAG, reason)
        client.set_terminated(run_id, status)


def _runs(uri: str, study_name: str, query: str) -> list[RunRecord]:
    with talking_to(uri) as client:
        experiment = client.get_experiment_by_name(study_name)
        if experiment is None:
            return []
        runs = [run_record(run) for run in search_all(client, [experiment.experiment_id], query)]
    ours = [run for run in runs if run.tags.get("tracker.kind") in ("cell", "study")]
    return sorted(ours, key=lambda run: run.start_time)
