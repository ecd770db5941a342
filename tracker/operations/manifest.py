"""What a backup says of itself: its files with size and hash, its versions, what was live when it was made.

A backup is input like any other file: nothing of it is used before its manifest was parsed strictly
and every path in it was found to lie inside.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tracker.study.errors import TrackerError
from tracker.study.home import Home
from tracker.study.plain import parse_json

FORMAT = 1
"""Of this manifest; a program refuses one it does not know."""

MANIFEST = "manifest.json"
FOLDER_NAME = re.compile(r"tracker-\d{8}-\d{6}")
HOME_PART, DATABASES_PART = "home", "databases"
PARTS = (HOME_PART, DATABASES_PART)
"""Folders of a backup: files as they lie under the home, and databases that lie elsewhere."""

NOT_READABLE = "take another backup: `tracker restore --verify DIR` says whether it is whole"


def _inside(path: str) -> str:
    """Refuse a path that leads anywhere but into a part of the backup."""
    pieces = path.split("/")
    if "\0" in path or "\\" in path or any(piece in ("", ".", "..") for piece in pieces):
        raise ValueError(f"{path!r} is no path inside a backup")
    if pieces[0] not in PARTS or len(pieces) < 2 or PurePosixPath(path).is_absolute():
        raise ValueError(f"{path!r} is no path inside a backup")
    return path


InsidePath = Annotated[str, AfterValidator(_inside)]
Role = Literal["trials", "tracking", "auth"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Entry(_Part):
    """One file of a backup.

    Args:
        path: in the backup, with slashes.
    """

    path: InsidePath
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class StoredDatabase(_Part):
    """One database of a backup.

    Args:
        role: trials: ledger and Optuna; tracking: MLflow; auth: the accounts of a team server.
        kind: a SQLite file, or a dump that pg_restore reads.
        path: of an entry.
        schema_version: the ledger's schema or MLflow's Alembic revision; None where it has none.
    """

    role: Role
    kind: Literal["sqlite", "postgresql"]
    path: InsidePath
    schema_version: str | None = None


class LiveCell(_Part):
    """A cell that a worker had when the ledger was copied."""

    study: str
    name: str
    worker: str | None
    last_epoch: int | None


class Manifest(_Part):
    """A whole backup.

    Args:
        name: of its folder: the moment, in UTC.
        created: UTC, ISO 8601.
        home: absolute path of the home it is of.
        versions: of tracker, Python and the packages whose files it holds.
        left_out: what belongs to the home or its runs and is not here, a line each.
    """

    format: int
    name: str = Field(pattern=rf"^{FOLDER_NAME.pattern}$")
    created: str
    host: str
    home: str
    versions: dict[str, str]
    databases: list[StoredDatabase]
    live: list[LiveCell]
    left_out: list[str]
    files: list[Entry]

    @property
    def bytes(self) -> int:
        """Of all files together."""
        return sum(entry.size for entry in self.files)

    def is_of(self, home: Home) -> bool:
        """Say whether it is of a home: this machine's, at this path."""
        return (self.host, self.home) == (socket.gethostname(), str(home.root))

    def database(self, role: Role) -> StoredDatabase | None:
        """Return the database of a role, the one used last where there are two; None where there is none."""
        found = [database for database in self.databases if database.role == role]
        return found[-1] if found else None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes: the manifest, with a checksum of itself."""
    content = manifest.model_dump(mode="json")
    document = {"checksum": _checksum(content), **content}
    (folder / MANIFEST).write_text(json.dumps(document, indent=1) + "\n", encoding="ascii")


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest; the files are not looked at.

    Raises:
        TrackerError: no backup, damaged, or of a newer program.
    """
    path = folder / MANIFEST
    try:
        document = parse_json(path.read_bytes())
    except OSError as error:
        raise TrackerError(
            f"{folder} is no backup: {MANIFEST} cannot be read: {error.strerror}",
            "name a folder that `tracker backup` made",
        ) from error
    except ValueError as error:
        raise TrackerError(f"{path}: damaged: not JSON", NOT_READABLE) from error
    if not isinstance(document, dict):
        raise TrackerError(f"{path}: damaged: not a mapping", NOT_READABLE)
    checksum = document.pop("checksum", None)
    if isinstance(document.get("format"), int) and document["format"] > FORMAT:
        raise TrackerError(
            f"{path}: format {document['format']} is newer than this program's {FORMAT}",
            "update the program (pip install --upgrade norm-tracker)",
        )
    if checksum != _checksum(document):
        raise TrackerError(f"{path}: damaged: it does not have its own checksum", NOT_READABLE)
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise TrackerError(
            f"{path}: {where}: {first['msg']}", "the file was not written by `tracker backup`"
        ) from error
    _check_paths(path, manifest)
    return manifest


def _check_paths(path: Path, manifest: Manifest) -> None:
    """See that no file comes twice or inside another, and that each database is a file that is listed."""
    known = {entry.path for entry in manifest.files}
    above = {str(parent) for name in known for parent in PurePosixPath(name).parents}
    problem = None
    if len(known) != len(manifest.files):
        problem = "a file is listed twice"
    elif clash := sorted(known & above):
        problem = f"{clash[0]!r} is both a file and a folder"
    elif lost := [database.path for database in manifest.databases if database.path not in known]:
        problem = f"database {lost[0]!r} is not among the files"
    if problem is not None:
        raise TrackerError(f"{path}: {problem}", "the file was not written by `tracker backup`")


def _checksum(document: object) -> str:
    """Return the hash of a document, whatever the layout of its file."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
