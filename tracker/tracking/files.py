"""Files of runs, read back: one file of many runs at once, or those of a single one."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from tracker.study.errors import TrackingError
from tracker.tracking.artifacts import fetch, names, repository
from tracker.tracking.client import check_reachable, short, shown, talking_to
from tracker.tracking.delivery import UPLOAD_SECONDS

THREADS = 8
MAX_BYTES = 256 << 20
"""Of one file: what a comparison reads is small."""

log = logging.getLogger(__name__)


def read_files(uri: str, runs: Iterable[tuple[str, str]], stored: str) -> dict[str, bytes]:
    """Read the same file of many runs.

    Args:
        uri: where MLflow keeps the runs.
        runs: run id and artifact URI of each.
        stored: the file's path among a run's artifacts.

    Returns:
        By run id; a run that has no such file is not in it.

    Raises:
        TrackingError: MLflow does not answer.
    """
    with (
        talking_to(uri),
        tempfile.TemporaryDirectory(prefix="tracker-") as scratch,
        ThreadPoolExecutor(max_workers=THREADS) as pool,
    ):

        def read(run: tuple[str, str]) -> tuple[str, bytes | None]:
            run_id, artifact_uri = run
            try:
                path = _fetched(repository(uri, artifact_uri), stored, Path(scratch, str(threading.get_ident())))
                return run_id, path.read_bytes() if path.stat().st_size <= MAX_BYTES else None
            except (MlflowException, OSError) as error:
                log.debug("run %s has no %s: %s", run_id, stored, short(error))
                return run_id, None

        contents = dict(pool.map(read, runs))
    if None in contents.values():
        check_reachable(uri)  # what a server that answers does not give is not there
    return {run_id: content for run_id, content in contents.items() if content is not None}


def stored_files(uri: str, artifact_uri: str, folder: str) -> list[str]:
    """Return the names of the files in one folder of a run's artifacts.

    Raises:
        TrackingError: MLflow or its store does not answer.
    """
    with talking_to(uri):
        try:
            return [path.removeprefix(f"{folder}/") for path in names(repository(uri, artifact_uri), folder)]
        except OSError as error:
            raise TrackingError(f"MLflow at {shown(uri)}: {short(error)}") from error


def fetch_stored(uri: str, artifact_uri: str, stored: str, path: Path) -> None:
    """Download one file of a run's artifacts.

    Raises:
        TrackingError: MLflow or its store does not answer, or has no such file.

    Writes: `path`, in one piece.
    """
    with talking_to(uri, UPLOAD_SECONDS):
        try:
            fetch(repository(uri, artifact_uri), stored, path)
        except OSError as error:
            raise TrackingError(f"MLflow at {shown(uri)}: {stored}: {short(error)}") from error


def _fetched(store: ArtifactRepository, stored: str, folder: Path) -> Path:
    """Return where the file can be read: in place if the store is a folder here, else downloaded into `folder`."""
    if isinstance(store, LocalArtifactRepository):
        return Path(store.artifact_dir, stored)
    folder.mkdir(exist_ok=True)
    return Path(store.download_artifacts(stored, str(folder)))
