"""MLflow's database brought to the schema of the MLflow that is installed, its former state kept.

MLflow itself refuses an older schema, or, where tables are missing, migrates it in place without a
copy; a migration that is killed half-way leaves a file that nothing opens any more. Here a copy is
migrated, and then put in place of the content in one transaction of SQLite: a kill at any moment
leaves the old or the new.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock, Timeout

from tracker.study.errors import TrackingError
from tracker.study.home import Home, replacing
from tracker.tracking.server.record import read_record

WAIT_SECONDS = 600
"""How long one process waits for another that migrates: a file of 10 GB takes some minutes."""
CONNECT_SECONDS = 10
LAST_WORDS = 5

log = logging.getLogger(__name__)


def bring_up_to_date(home: Home) -> Path | None:
    """Bring the home's SQLite file to the schema of the MLflow that is installed.

    Returns:
        The copy of the file as it was; None where there was nothing to do.

    Raises:
        TrackingError: a newer MLflow wrote it, a server runs on it, or it cannot be migrated; then it is as it was.

    Writes: `tracking.db.REVISION.backup`, and the file.
    """
    if not _is_older(home.tracking_db):
        return None
    record = read_record(home)
    if record is not None and record.alive():
        if record.version == version("mlflow"):  # it makes its tables at this moment
            return None
        raise TrackingError(
            f"the server at {record.uri} is of MLflow {record.version}, and {version('mlflow')} is installed, which "
            f"needs {home.tracking_db} in a newer form",
            "`tracker server stop`, then `tracker server start`",
        )
    lock = FileLock(home.make(home.server) / "upgrade.lock", timeout=WAIT_SECONDS)
    try:
        with lock:
            return _upgrade(home) if _is_older(home.tracking_db) else None
    except Timeout as error:
        raise TrackingError(f"{lock.lock_file}: held for {WAIT_SECONDS} s", "see what holds it, and end it") from error


def _upgrade(home: Home) -> Path:
    database = home.tracking_db
    found = revision(database)
    copy = database.with_name(f"{database.name}.{found}.backup")
    migrated = home.server / f".{database.name}.{os.getpid()}.upgrading"
    log.warning("%s: written by an older MLflow; it is brought to MLflow %s", database, version("mlflow"))
    try:
        with replacing(copy) as temporary:
            _copy(database, temporary)
        _copy(copy, migrated)
        _migrate(migrated)
        _copy(migrated, database)
    except (OSError, sqlite3.Error) as error:
        raise TrackingError(
            f"{database}: its tables are those of an older MLflow and could not be migrated: {error}; it is as it was",
            f"make room for two copies of it ({database.stat().st_size / 1e6:.0f} MB each), and end what writes to it",
        ) from error
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            migrated.with_name(migrated.name + suffix).unlink(missing_ok=True)
    log.warning("%s: done; as it was before it is kept as %s", database, copy)
    return copy


def revision(database: Path) -> str | None:
    """Return the revision that a SQLite file of MLflow has; None for one without tables yet.

    Raises:
        TrackingError: it cannot be read.
    """
    if not database.exists():
        return None
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True, timeout=30)) as connection:
            known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone() if known else None
    except sqlite3.Error as error:
        raise TrackingError(
            f"{database}: {error}", "is it a SQLite file, and its folder writable and not full?"
        ) from error
    return None if found is None else str(found[0])


def refuse_another_schema(uri: str, shown: str) -> None:
    """See that a PostgreSQL database has the schema of the MLflow that is installed, or no tables yet.

    It is not migrated here: others may use it at this moment, and no copy can be kept beside it.

    Args:
        shown: its address without the password.

    Raises:
        TrackingError: it has another schema, or cannot be reached.
    """
    import psycopg

    try:
        with psycopg.connect(
            re.sub(r"^postgresql\+\w+:", "postgresql:", uri), connect_timeout=CONNECT_SECONDS
        ) as opened:
            known = opened.execute("SELECT to_regclass('alembic_version')").fetchone()
            found = opened.execute("SELECT version_num FROM alembic_version").fetchone() if known and known[0] else None
    except psycopg.Error as error:
        problem = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise TrackingError(f"{shown}: {problem}", "check that it runs, and its host, user and password") from error
    if found is not None and _compare(shown, str(found[0])):
        raise TrackingError(
            f"{shown}: its tables are those of an older MLflow ({found[0]}), {version('mlflow')} is installed",
            f"end all servers on it, keep a copy (pg_dump), then: mlflow db upgrade {shown} (with PGPASSWORD)",
        )


@cache
def known_revisions() -> tuple[frozenset[str], str]:
    """Return all revisions that the installed MLflow knows, and the newest: read from its files, not imported (1 s)."""
    spec = find_spec("mlflow")
    assert spec is not None and spec.submodule_search_locations
    names: set[str] = set()
    followed: set[str] = set()
    for path in Path(spec.submodule_search_locations[0], "store", "db_migrations", "versions").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        names |= set(re.findall(r"^revision\b[^=\n]*= *[\"']([0-9a-z]+)[\"']", text, re.MULTILINE))
        for line in re.findall(r"^down_revision\b[^=\n]*= *(.+)$", text, re.MULTILINE):
            followed |= set(re.findall(r"[\"']([0-9a-z]+)[\"']", line))
    (newest,) = names - followed
    return frozenset(names), newest


def _is_older(database: Path) -> bool:
    """Say whether a file has an older schema. Raises: TrackingError."""
    found = revision(database)
    return found is not None and _compare(str(database), found)


def _compare(shown: str, found: str) -> bool:
    """Say whether a schema is older than that of the MLflow that is installed.

    Raises:
        TrackingError: the installed MLflow does not know it.
    """
    known, newest = known_revisions()
    if found not in known:
        raise TrackingError(
            f"{shown}: its schema {found} is newer than MLflow {version('mlflow')} knows (up to {newest})",
            "install the MLflow that wrote it or a newer one (pip install --upgrade mlflow), or use another store; "
            "there is no way back",
        )
    return found != newest


def _copy(source: Path, target: Path) -> None:
    """Put one SQLite file's content in place of another's, in one transaction."""
    with closing(sqlite3.connect(source, timeout=30)) as reading, closing(sqlite3.connect(target, timeout=30)) as new:
        reading.backup(new)


def _migrate(database: Path) -> None:
    """Run MLflow's own migration on a file that nobody else uses.

    Raises:
        TrackingError: it ended with an error; quotes its last words.
    """
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", f"sqlite:///{quote(str(database))}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=database.parent, check=False)
    if done.returncode != 0:
        words = "\n".join((done.stderr or done.stdout).strip().splitlines()[-LAST_WORDS:])
        raise TrackingError(
            f"`mlflow db upgrade` failed with code {done.returncode}; the database is as it was:\n{words}",
            "use the MLflow that wrote it, or report this with the file",
        )
