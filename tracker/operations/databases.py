"""Databases copied while they are written, and put back: SQLite by its backup API, PostgreSQL by its own programs."""

from __future__ import annotations

import csv
import io
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from tracker.ledger.addresses import libpq_environment, public_name
from tracker.study.errors import TrackerError, UsageError

BUSY_SECONDS = 60
TABLES = (
    "SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
)


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a SQLite file as it is at one moment, while others write to it, and check the copy.

    The copy is one file without a write-ahead log beside it.

    Raises:
        TrackerError: it cannot be read, or the copy is damaged as the original must be.

    Writes: `target`.
    """
    try:
        # Reading alone, so that nothing is made where the file has just been taken away.
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS)) as live,
            closing(sqlite3.connect(target)) as copy,
        ):
            live.backup(copy)  # all pages in one step: one moment, and writers go on beside it
            copy.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise TrackerError(
            f"{source} cannot be copied: {error}", "is it a whole SQLite file, and room on the disk?"
        ) from error
    if problem := damage(target):
        raise TrackerError(f"{source} is damaged: {problem}", "restore the last backup: tracker restore DIR")


def damage(path: Path) -> str | None:
    """Say what SQLite finds wrong with a file, None where it is whole."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            found = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        return str(error)
    return None if found == "ok" else found


def ask_sqlite(path: Path, query: str) -> list[tuple[str, ...]]:
    """Return what a query gives on a SQLite file, as text; nothing where a table or column is not there."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute(query).fetchall()
    except sqlite3.Error:
        return []
    return [tuple("" if value is None else str(value) for value in row) for row in rows]


def ask_server(url: str, query: str) -> list[tuple[str, ...]]:
    """Return what a query gives on a PostgreSQL database, as text; nothing where a table is not there.

    Raises:
        TrackerError: psql is not there, or cannot reach it.
    """
    try:
        answer = _run("psql", url, "--no-psqlrc", "--csv", "--tuples-only", f"--command={query}")
    except TrackerError as error:
        if "does not exist" in error.message and "relation" in error.message:
            return []
        raise
    return [tuple(row) for row in csv.reader(io.StringIO(answer))]


def dump_server(url: str, target: Path) -> None:
    """Dump a PostgreSQL database as it is at one moment, in pg_restore's own format.

    Raises:
        TrackerError: pg_dump is not there, or cannot; quotes it.

    Writes: `target`.
    """
    _run("pg_dump", url, "--format=custom", "--no-owner", "--no-privileges", f"--file={target}")


def check_dump(path: Path) -> None:
    """Read a dump to its end.

    Raises:
        TrackerError: pg_restore is not there, or cannot read it.
    """
    _run("pg_restore", None, "--file=/dev/null", str(path))


def restore_server(url: str, dump: Path, replace: bool) -> None:
    """Put a dump into a PostgreSQL database, all of it or nothing.

    Args:
        replace: drop what is in the way, in the same transaction.

    Raises:
        TrackerError: pg_restore is not there, or cannot; quotes it.
    """
    options = ["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error"]
    database = (libpq_environment(url) or {}).get("PGDATABASE", "")
    _run(
        "pg_restore", url, *options, *(["--clean", "--if-exists"] if replace else []), f"--dbname={database}", str(dump)
    )


def is_empty(url: str) -> bool:
    """Say whether a PostgreSQL database has no table yet.

    Raises:
        TrackerError: psql is not there, or cannot reach it.
    """
    return ask_server(url, TABLES) == [("0",)]


def _run(program: str, url: str | None, *arguments: str) -> str:
    """Run one of PostgreSQL's programs; where and as whom it connects is in its environment alone."""
    found = shutil.which(program)
    if found is None:
        raise TrackerError(
            f"{program} is not on the PATH",
            "install PostgreSQL's client programs (Debian: apt-get install postgresql-client)",
        )
    place = libpq_environment(url) if url is not None else {}
    if place is None:
        raise UsageError(f"{public_name(str(url))} is no PostgreSQL database", "as in postgresql+psycopg://HOST/DB")
    done = subprocess.run(
        [found, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, "PGCONNECT_TIMEOUT": "10", "PGAPPNAME": "tracker", **place},
    )
    if done.returncode != 0:
        words = [line for line in done.stderr.strip().splitlines() if line.strip()] or [f"exit code {done.returncode}"]
        where = f" {public_name(url)}" if url is not None else ""
        raise TrackerError(
            f"{program}{where}: " + "\n  ".join(words[:3]),
            "see that the server runs, is as old as the program, and lets you in",
        )
    return done.stdout
