"""Files of many runs at once."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlflow.exceptions import MlflowException

from tracker.tracking.artifacts import repository
from tracker.tracking.client import short, talking_to

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
            folder = Path(scratch, run_id)
            folder.mkdir()
            try:
                path = Path(repository(uri, artifact_uri).download_artifacts(stored, str(folder)))
            except (MlflowException, OSError) as error:
                log.debug("run %s has no %s: %s", run_id, stored, short(error))
                return run_id, None
            return run_id, path.read_bytes() if path.stat().st_size <= MAX_BYTES else None

        return {run_id: content for run_id, content in pool.map(read, runs) if content is not None}
