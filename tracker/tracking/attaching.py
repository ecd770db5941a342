"""Files for a run that has ended: they join its artifacts, and nothing else about it changes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tracker.study.errors import TrackingError
from tracker.tracking.artifacts import place, repository
from tracker.tracking.client import short, shown, talking_to


def attach_files(uri: str, run_id: str, files: Iterable[Path], root: Path, folder: str) -> None:
    """Store files with a run, whatever its state.

    Args:
        uri: where MLflow keeps the run; the SQLite file of a home will do.
        files: below `root`, whose folders they keep.
        folder: among the run's artifacts.

    Raises:
        TrackingError: MLflow does not answer or does not take them.

    Writes: artifacts of the run; those of the same names are replaced.
    """
    with talking_to(uri) as client:
        store = repository(uri, client.get_run(run_id).info.artifact_uri)
        for file in files:
            beside = file.parent.relative_to(root).as_posix()
            try:
                store.log_artifact(str(file), folder if beside == "." else place(folder, beside))
            except Exception as error:  # whatever an artifact store's library raises
                raise TrackingError(f"MLflow at {shown(uri)} does not take {file.name}: {short(error)}") from error
