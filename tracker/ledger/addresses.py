"""Database URLs in the words of others: a file's path, or what PostgreSQL's own programs read from the environment."""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from tracker.study.errors import LedgerError

VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "options": "PGOPTIONS",
    "passfile": "PGPASSFILE",
    "service": "PGSERVICE",
    "user": "PGUSER",
    "password": "PGPASSWORD",
}
"""libpq's parameters, as a URL's query may have them, and its variables."""


def sqlite_file(url: str) -> Path | None:
    """Return the file of a SQLite URL; None for any other.

    Raises:
        LedgerError: no database URL.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        return None
    return Path(str(parsed.database)).absolute()


def libpq_environment(url: str) -> dict[str, str] | None:
    """Return the variables by which pg_dump, pg_restore and psql find a PostgreSQL database; None for any other.

    An argument could be read by every user of the machine, and a URL may hold a password. What the URL
    does not say stays as the environment has it: PGPASSWORD, ~/.pgpass.

    Raises:
        LedgerError: no database URL.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() != "postgresql":
        return None
    given = {
        "PGHOST": parsed.host,
        "PGPORT": None if parsed.port is None else str(parsed.port),
        "PGUSER": parsed.username,
        "PGPASSWORD": None if parsed.password is None else str(parsed.password),
        "PGDATABASE": parsed.database,
    }
    given |= {VARIABLES[key]: str(value) for key, value in parsed.query.items() if key in VARIABLES}
    return {name: value for name, value in given.items() if value is not None}


def public_name(url: str | URL) -> str:
    """Return a URL fit for messages: without its password.

    Raises:
        LedgerError: no database URL.
    """
    parsed = parse_url(url) if isinstance(url, str) else url
    query = {key: value for key, value in parsed.query.items() if "password" not in key}
    return parsed.set(query=query).render_as_string(hide_password=True)


def parse_url(url: str) -> URL:
    """Take a database URL apart.

    Raises:
        LedgerError: it is none.
    """
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:
        shown = re.sub(r".*@", "***@", url)
        raise LedgerError(
            f"{shown!r} is not a database URL", "as in sqlite:////path/trials.db or postgresql+psycopg://HOST/DB"
        ) from error
