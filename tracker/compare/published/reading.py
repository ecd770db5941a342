"""From MLflow to a study beside the published results."""

from __future__ import annotations

from tracker.compare.outputs import swept_study
from tracker.compare.published.against import Against, against_published
from tracker.tracking.reading import read_runs


def read_against(uri: str, study_name: str | None = None) -> Against:
    """Read a study and its runs from MLflow and lay them beside the published results.

    Args:
        uri: where MLflow keeps the runs.
        study_name: the newest study if None.

    Raises:
        TrackingError: MLflow does not answer, or holds no study, or not this one.
        UsageError: the study has no configuration that was published.
    """
    study, _ = swept_study(uri, study_name)
    return against_published(study, read_runs(uri, study.name))
