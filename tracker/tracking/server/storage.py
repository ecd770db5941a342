"""Where a server keeps its runs and files: in its home, unless the environment names a database or a store."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.tracking.server.upgrading import bring_up_to_date, refuse_another_schema

BACKEND_VARIABLE = "MLFLOW_BACKEND_STORE_URI"
ARTIFACTS_VARIABLE = "MLFLOW_ARTIFACTS_DESTINATION"

PASSWORD = re.compile(r"(?P<before>[\w+]+://[^/@:]*):(?P<password>.*)@(?P<behind>.*)")
"""Of a database's address, whatever characters it has."""


@dataclass(frozen=True)
class Storage:
    """Where a server writes.

    Args:
        uri: of the database; may hold a password, and is handed on by environment only.
        artifacts: folder or store of the files, as a URI.
        own: the database is the home's SQLite file.
    """

    uri: str
    artifacts: str
    own: bool

    @classmethod
    def of(cls, home: Home, environment: Mapping[str, str] = os.environ) -> Storage:
        """Take the home's SQLite file and folder, or what MLflow's own variables name.

        Raises:
            TrackingError: a database of another kind, or what it takes to speak to one is not installed.
        """
        own = database_uri(home)
        uri = environment.get(BACKEND_VARIABLE) or own
        artifacts = environment.get(ARTIFACTS_VARIABLE) or home.artifacts.as_uri()
        if uri != own:
            if not uri.startswith(("postgresql://", "postgresql+psycopg://")):
                raise TrackingError(
                    f"{BACKEND_VARIABLE}={without_password(uri)}: not a PostgreSQL database",
                    f"accepted: postgresql://USER:PASSWORD@HOST/DATABASE; unset, it is {home.tracking_db}",
                )
            _need("psycopg", "PostgreSQL", "postgresql")
        if artifacts.startswith("s3://"):
            _need("boto3", artifacts, "team")
        return cls(uri, artifacts, own=uri == own)

    @property
    def name(self) -> str:
        """Name the database without its password; empty for the home's own file, which may move with its home."""
        return "" if self.own else without_password(self.uri)

    def prepare(self, home: Home) -> None:
        """Make the home; bring a SQLite file to today's schema and switch it to WAL, which stays with it.

        MLflow's tables are made by the server itself, alone, since this runs under the lock: two
        processes that open a fresh file at once crash one another.
        """
        home.make(home.root)
        if self.own:
            bring_up_to_date(home)
            use_wal(home.tracking_db)
        else:
            refuse_another_schema(self.uri, self.name)


def use_wal(database: Path) -> None:
    """Switch a SQLite file to WAL, making it if need be."""
    try:
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.Error as error:
        raise TrackingError(
            f"{database}: {error}", "is it a SQLite file, and its folder writable and not full?"
        ) from error


def database_uri(home: Home) -> str:
    """Return MLflow's SQLite file as SQLAlchemy names it."""
    return f"sqlite:///{quote(str(home.tracking_db))}"


def without_password(uri: str) -> str:
    """Return a database's address fit for arguments, files and messages."""
    return split_password(uri)[0]


def split_password(uri: str) -> tuple[str, str | None]:
    """Part a database's address from its password, wherever in it that stands."""
    password = None
    if match := PASSWORD.fullmatch(uri):
        uri, password = f"{match['before']}@{match['behind']}", unquote(match["password"])
    place, mark, query = uri.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    rest = urlencode([(key, value) for key, value in pairs if key != "password"], safe="/")
    return place + (mark and rest and f"?{rest}"), password or dict(pairs).get("password")


def _need(module: str, purpose: str, extra: str) -> None:
    if find_spec(module) is None:
        raise TrackingError(f"{purpose} needs {module}, which is not installed", f"pip install 'norm-tracker[{extra}]'")
