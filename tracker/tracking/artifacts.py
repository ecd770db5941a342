"""Files in MLflow's artifact store: sent, compared by their hash, fetched in one piece."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from tracker.study.errors import TrackingError
from tracker.study.home import Home, replacing
from tracker.tracking.client import shown

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
"""What a fetched file may be called: nothing that leads out of its folder, nothing hidden."""

FOLDER_VARIABLE = "TRACKER_ARTIFACT_FOLDER"
"""Names a folder that a tracking server keeps its runs' files in and that this machine has too, as on NFS."""
BUCKETS = frozenset({"s3", "gs", "r2", "b2", "wasbs", "abfss", "dbfs", "hdfs", "viewfs"})
PLAIN = re.compile(r"[A-Za-z0-9._~:/%+-]*")
"""An address that every program reads alike."""


def repository(uri: str, artifact_uri: str) -> ArtifactRepository:
    """Return the store of one run's files.

    Where that is, an experiment's maker has said, and whoever reaches a server can make one. So
    another web server is not asked, which would be sent this user's credentials for MLflow, and no
    folder of this machine that a server names is read or written unless the user named it too.

    Args:
        uri: of the tracking server, or of its SQLite file where no server runs.
        artifact_uri: what the run says.

    Raises:
        TrackingError: such a place.
    """
    shared = os.environ.get(FOLDER_VARIABLE)
    folders = [Path(shared)] if shared else []
    if uri.startswith("sqlite:///"):
        home = Home(Path(unquote(uri.removeprefix("sqlite:///"))).parent)
        folders = [Path("/")]  # what was run here without a server keeps its files wherever that was
        if artifact_uri.startswith("mlflow-artifacts:"):
            # The server's own scheme, met without a server: its files lie beside its database.
            artifact_uri = (home.artifacts / urlsplit(artifact_uri).path.lstrip("/")).as_uri()
            folders = [home.artifacts]
    place = urlsplit(artifact_uri)
    if place.scheme in ("http", "https", "mlflow-artifacts"):
        allowed = bool(PLAIN.fullmatch(artifact_uri)) and _is_same_server(uri, artifact_uri)
    elif place.scheme in ("", "file"):
        path = Path(url2pathname(place.path)).resolve()
        allowed = place.netloc in ("", "localhost") and any(path.is_relative_to(f.resolve()) for f in folders)
    else:
        allowed = place.scheme in BUCKETS
    if not allowed:
        raise TrackingError(
            f"MLflow at {shown(uri)} keeps the files of this run at {shown(artifact_uri)}, which is not used: the "
            "maker of an experiment can name any place",
            f"if that is a folder of the server that this machine shares: {FOLDER_VARIABLE}=FOLDER; else use another "
            "experiment",
        )
    return get_artifact_repository(artifact_uri, tracking_uri=uri)


def _is_same_server(uri: str, artifact_uri: str) -> bool:
    """Say whether the server of a run's files is the tracking server itself."""
    tracking, place = urlsplit(uri), urlsplit(artifact_uri)
    if place.scheme == "mlflow-artifacts" and not place.netloc:
        return True
    return place.scheme in (tracking.scheme, "mlflow-artifacts") and place.netloc == tracking.netloc.rpartition("@")[2]


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
