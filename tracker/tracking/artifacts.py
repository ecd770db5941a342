"""Files in MLflow's artifact store: sent, compared by their hash, fetched in one piece."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlparse

from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from tracker.study.home import Home, replacing

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
"""What a fetched file may be called: nothing that leads out of its folder, nothing hidden."""


def repository(uri: str, artifact_uri: str) -> ArtifactRepository:
    """Return the store of one run's files.

    Args:
        uri: of the tracking server, or of its SQLite file where no server runs.
        artifact_uri: what the run says.
    """
    if uri.startswith("sqlite:///") and artifact_uri.startswith("mlflow-artifacts:"):
        # The server's own scheme, met without a server: its files lie beside its database.
        home = Home(Path(unquote(uri.removeprefix("sqlite:///"))).parent)
        artifact_uri = (home.artifacts / urlparse(artifact_uri).path.lstrip("/")).as_uri()
    return get_artifact_repository(artifact_uri, tracking_uri=uri)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def place(folder: str, name: str) -> str:
    """Return where a file lies among a run's artifacts."""
    return f"{folder}/{name}" if folder else name


def names(store: ArtifactRepository, folder: str) -> list[str]:
    """Return the paths of the plain files right in `folder`."""
    return [info.path for info in store.list_artifacts(folder or None) if not info.is_dir]


def holds(store: ArtifactRepository, file: Path, folder: str, scratch: Path) -> bool:
    """Fetch the stored copy of `file` back and say whether it has the same bytes.

    Args:
        scratch: a folder on a disk with room for it.
    """
    stored = place(folder, file.name)
    if stored not in names(store, folder):
        return False
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".verify-") as beside:
        return digest(Path(store.download_artifacts(stored, beside))) == digest(file)


def fetch(store: ArtifactRepository, stored: str, path: Path) -> None:
    """Download one file.

    Writes: `path`, in one piece.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as beside, replacing(path) as temporary:
        os.replace(store.download_artifacts(stored, beside), temporary)
