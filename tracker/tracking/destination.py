"""Where the MLflow server of a home puts the files of runs."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tracker.study.home import Home
from tracker.tracking.server.storage import ARTIFACTS_VARIABLE


def artifacts_folder(home: Home) -> Path | None:
    """Return the folder behind `mlflow-artifacts:/`; None where it is an object store or another machine's."""
    given = os.environ.get(ARTIFACTS_VARIABLE)
    if not given:
        return home.artifacts
    parts = urlsplit(given)
    if parts.scheme not in ("", "file"):
        return None
    return Path(unquote(parts.path) if parts.scheme else given).absolute()
