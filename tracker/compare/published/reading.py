"""From MLflow to a study beside the published results."""

from __future__ import annotations

from tracker.compare.published.against import Against, against_published
from tracker.study.errors import TrackingError
from tracker.study.load import parse_study
from tracker.tracking.reading import newest_study, read_runs, read_study


def read_against(uri: str, study_name: str | None = None) -> Against:
    """Read a study and its runs from MLflow and lay them beside the published results.

    Args:
        uri: where MLflow keeps the runs.
        study_name: the newest study if None.

    Raises:
        TrackingError: MLflow does not answer, or holds no study, or not this one.
        UsageError: the study has no configuration that was published.
    """
    record = newest_study(uri) if study_name is None else read_study(uri, study_name)
    if record is None:
        raise TrackingError(f"there is no study at {uri} yet", "tracker sweep --study norm-test")
    study = parse_study(record.document, file=f"study {record.name} at {uri}")
    return against_published(study, read_runs(uri, record.name))
