"""Whether this program can restore a backup, by what its manifest says."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

from packaging.version import InvalidVersion, Version

from tracker import __version__
from tracker.ledger.tables import KNOWN_SCHEMAS
from tracker.operations.contents import belongs
from tracker.operations.manifest import HOME_PART, Manifest, StoredDatabase
from tracker.study.errors import TrackerError, UsageError
from tracker.tracking.server.storage import BACKEND_VARIABLE

FOREIGN = "it was not made by `tracker backup`"


def check_readable(manifest: Manifest) -> None:
    """Refuse a backup of a newer program, by the versions in its manifest.

    Raises:
        TrackerError: names what is newer.
    """
    cure = "update the program (pip install --upgrade norm-tracker), or restore with the one that made it"
    theirs = manifest.versions.get("tracker", "")
    try:
        newer = Version(theirs) > Version(__version__)
    except InvalidVersion as error:
        raise TrackerError(f"{manifest.name}: {theirs!r} is no version of this program", cure) from error
    if newer:
        raise TrackerError(
            f"{manifest.name} was made by tracker {theirs}, which is newer than this {__version__}", cure
        )
    for database in manifest.databases:
        schema = database.schema_version
        if schema is None or database.role == "auth":
            continue
        if database.role == "trials":
            known = schema in KNOWN_SCHEMAS
        else:
            from tracker.tracking.locations import knows_revision  # two seconds of imports

            known = knows_revision(schema)
        if not known:
            made = manifest.versions.get("mlflow", "unknown") if database.role == "tracking" else theirs
            what = "MLflow" if database.role == "tracking" else "the ledger"
            raise TrackerError(
                f"{manifest.name}: schema {schema} of {what} is newer than this program knows (made with {made})", cure
            )


def check_parts(manifest: Manifest) -> None:
    """Refuse files that no backup takes from a home: a record of a server, say, names a process to end."""
    for entry in manifest.files:
        part, _, name = entry.path.partition("/")
        if part == HOME_PART and not belongs(PurePosixPath(name)):
            raise TrackerError(f"{manifest.name}: {name!r} is nothing that a backup has", FOREIGN)
        if part != HOME_PART and entry.path not in {database.path for database in manifest.databases}:
            raise TrackerError(f"{manifest.name}: {entry.path!r} is no database", FOREIGN)


def servers_for(manifest: Manifest, storage: str | None) -> list[tuple[StoredDatabase, str]]:
    """Return each dump with the URL of the database it goes into."""
    given = {
        "trials": (storage, "--storage URL or TRACKER_STORAGE"),
        "tracking": (os.environ.get(BACKEND_VARIABLE), BACKEND_VARIABLE),
    }
    found = []
    for database in manifest.databases:
        if database.kind == "postgresql":
            url, name = given[database.role]
            if not url:
                raise UsageError(
                    f"{manifest.name} has a dump of a PostgreSQL database ({database.role})",
                    f"name an empty database for it: {name}",
                )
            found.append((database, url.replace("postgresql://", "postgresql+psycopg://", 1)))
    return found
