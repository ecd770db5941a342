"""Where a home's databases are, and what of its runs lies where no backup of this machine can reach."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from tracker.ledger.addresses import libpq_environment, public_name, sqlite_file
from tracker.ledger.ledger import local_url
from tracker.operations.contents import belongs
from tracker.study.errors import TrackerError
from tracker.study.home import Home
from tracker.tracking.client import shown
from tracker.tracking.destination import artifacts_folder
from tracker.tracking.server.addresses import URI_VARIABLE, database_uri
from tracker.tracking.server.record import read_record
from tracker.tracking.server.storage import ARTIFACTS_VARIABLE, BACKEND_VARIABLE


@dataclass(frozen=True)
class Store:
    """One database.

    Args:
        url: as SQLAlchemy names it.
        file: of a SQLite database; None for PostgreSQL.
    """

    url: str
    file: Path | None

    def __str__(self) -> str:
        """Name it without a password."""
        return str(self.file) if self.file is not None else public_name(self.url)


def trials_store(home: Home, storage: str | None) -> Store | None:
    """Return the trial database; None where the local one was never made.

    Raises:
        TrackerError: a database of another kind.
    """
    if storage is not None:
        return _store(storage, "--storage")
    return Store(local_url(home), home.trials_db) if home.trials_db.exists() else None


def tracking_store(home: Home) -> Store | None:
    """Return MLflow's database; None where the local one was never made, or only a server elsewhere knows it.

    Raises:
        TrackerError: a database of another kind.
    """
    if backend := os.environ.get(BACKEND_VARIABLE):
        return _store(backend, BACKEND_VARIABLE)
    given = os.environ.get(URI_VARIABLE)
    if given and not is_own_server(home, given):
        return _store(given, URI_VARIABLE) if given.startswith("sqlite:") else None
    if remote_tracking(home):
        return None
    return Store(database_uri(home), home.tracking_db) if home.tracking_db.exists() else None


def remote_tracking(home: Home) -> str | None:
    """Return where MLflow is when neither its file nor its database is known here, fit for a message; else None."""
    if os.environ.get(BACKEND_VARIABLE):
        return None
    given = os.environ.get(URI_VARIABLE)
    if given and not is_own_server(home, given):
        return None if given.startswith("sqlite:") else shown(given)
    record = read_record(home)
    return record.storage or None if record is not None else None  # a database that this home's server was given


def is_own_server(home: Home, uri: str) -> bool:
    """Say whether an address is that of this home's own server."""
    record = read_record(home)
    return record is not None and uri.rstrip("/") == record.uri


def out_of_reach(home: Home, places: Sequence[str]) -> Iterator[str]:
    """Yield each of the places that is not below the home: object stores, folders of other disks.

    Args:
        places: as MLflow's database names them.
    """
    folder = artifacts_folder(home)
    served = folder is not None and _is_inside(home, str(folder))
    for place in places:
        if place.startswith("mlflow-artifacts:"):
            if not served:
                yield f"{place} (in {shown(os.environ[ARTIFACTS_VARIABLE])})"
        elif not _is_inside(home, place):
            yield shown(place)


def nothing_here(home: Home, places: Sequence[str]) -> bool:
    """Say whether not one of the places that a server names has files in this home: it may keep them elsewhere."""
    folder = artifacts_folder(home)
    served = [place for place in places if place.startswith("mlflow-artifacts:")]
    if folder is None or not served:
        return False
    return not any((folder / unquote(urlsplit(place).path).lstrip("/")).exists() for place in served)


def _is_inside(home: Home, place: str) -> bool:
    """Say whether a place is below the home and belongs to backups; one that does not exist misses in none."""
    parts = urlsplit(place)
    if parts.scheme not in ("", "file"):
        return False
    path = Path(unquote(parts.path) if parts.scheme else place)
    if not path.is_absolute() or not path.exists():
        return path.is_absolute()
    try:
        relative = path.resolve().relative_to(home.root.resolve())
    except ValueError:
        return path.is_relative_to(home.root)  # a folder of the home that is a link to another disk
    return belongs(PurePosixPath(relative) / "file", with_data=False)


def _store(url: str, source: str) -> Store:
    file = sqlite_file(url)
    if file is None and libpq_environment(url) is None:
        raise TrackerError(
            f"{source} names {public_name(url)}, which is neither SQLite nor PostgreSQL",
            "back it up with its own tools, and the rest with --without-tracking",
        )
    return Store(url.replace("postgresql://", "postgresql+psycopg://", 1), file)  # the driver that this program uses
