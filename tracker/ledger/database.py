"""One database for the ledger and Optuna: connections, transactions, locks, first setup.

SQLite takes the write lock when a transaction begins (BEGIN IMMEDIATE): with SQLite's default a
claim reads before it locks, and two processes get the same cell. PostgreSQL locks rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, insert, inspect, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from tracker.ledger.tables import KNOWN_SCHEMAS, SCHEMA, ledger_version, metadata
from tracker.study.errors import LedgerError

LOCK_SECONDS = 30.0
"""How long a transaction waits for another process's."""

SETUP_SECONDS = 120.0
"""How long an opening waits for another process that sets the database up."""


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file, whatever characters its path has."""
    return URL.create("sqlite", database=str(path)).render_as_string()


class Database:
    """Connections to the database at `url`, safe for threads; open one in each process.

    Raises:
        LedgerError: not a SQLite or PostgreSQL database, or its driver is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            self._url = make_url(url)
        except ArgumentError as error:
            raise LedgerError(f"{url!r} is not a database URL", "as in sqlite:////path/trials.db") from error
        self.dialect = self._url.get_backend_name()
        if self.dialect not in ("sqlite", "postgresql"):
            raise LedgerError(f"{self}: {self.dialect} is not supported", "use sqlite or postgresql+psycopg")
        if self.dialect == "sqlite" and self.path is None:
            raise LedgerError("a SQLite database in memory cannot be shared by workers", "sqlite:////path/trials.db")
        try:
            self._engine = create_engine(self._url, connect_args=connect_args(url), pool_pre_ping=self.path is None)
        except ImportError as error:
            raise LedgerError(f"{self}: {error.name} is not installed", f"pip install {error.name}") from error
        except NoSuchModuleError as error:
            raise LedgerError(f"{self}: {error}", "use postgresql+psycopg") from error
        if self.dialect == "sqlite":
            _discipline(self._engine)
        self._reader = self._engine.execution_options(sqlite_begin="DEFERRED")

    def __str__(self) -> str:
        """Name the database in messages, without its password."""
        return str(self.path or self._url.render_as_string(hide_password=True))

    @property
    def path(self) -> Path | None:
        """The SQLite file, None for a database server."""
        name = self._url.database
        return Path(name).absolute() if self.dialect == "sqlite" and name and name != ":memory:" else None

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Run a block as one transaction that may write; an exception undoes all of it."""
        with self.translating(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Run a block as one transaction that only reads, and waits for no writer."""
        with self.translating(), self._reader.begin() as connection:
            yield connection

    def now(self, connection: Connection) -> datetime:
        """Return the time leases are measured by: the server's, for machines whose clocks differ."""
        if self.dialect == "sqlite":
            return datetime.now(UTC)
        moment = connection.execute(select(func.clock_timestamp())).scalar_one()
        assert isinstance(moment, datetime)
        return moment.astimezone(UTC)

    def lock_study(self, connection: Connection, study: str, shared: bool) -> None:
        """Hold off a change of the study's grid until the transaction ends; not shared: any change.

        SQLite has one writer at a time as it is.
        """
        if self.dialect == "postgresql":
            lock = func.pg_advisory_xact_lock_shared if shared else func.pg_advisory_xact_lock
            connection.execute(select(lock(_key(f"study {study}"))))

    @contextmanager
    def setting_up(self) -> Iterator[None]:
        """Let one process at a time look for the tables and make them."""
        if self.path is not None:
            lock = FileLock(self.path.with_name(f"{self.path.name}.lock"), timeout=SETUP_SECONDS)
            try:
                lock.acquire()
            except Timeout as error:
                cure = f"end the process that holds {lock.lock_file}"
                raise LedgerError(
                    f"{self}: another process has been opening it for {SETUP_SECONDS:.0f} s", cure
                ) from error
            except OSError as error:
                cure = "choose a writable place with --home DIR or TRACKER_HOME=DIR"
                raise LedgerError(f"{self}: cannot be opened: {error.strerror}", cure) from error
            try:
                yield
            finally:
                lock.release()
        else:
            with self.translating(), self._engine.begin() as connection:
                connection.execute(select(func.pg_advisory_xact_lock(_key("setup"))))
                yield

    def schema(self) -> str | None:
        """Return the ledger's schema in this database, None where there is none yet.

        Raises:
            LedgerError: not a database, not reachable, or written by a newer version of this program.
        """
        with self.reading() as connection:
            if not inspect(connection).has_table(ledger_version.name):
                return None
            found = connection.execute(select(ledger_version.c.version_num)).scalar_one_or_none()
        if found is not None and found not in KNOWN_SCHEMAS:
            raise LedgerError(
                f"{self}: its schema {found} is newer than this program's {SCHEMA}",
                "update the program (pip install --upgrade norm-tracker), or use another --home",
            )
        return found

    def create_tables(self) -> None:
        """Make the ledger's tables; their version comes last, so it vouches for the rest."""
        with self.writing() as connection:
            metadata.create_all(connection)
            connection.execute(insert(ledger_version).values(version_num=SCHEMA))

    def journal_mode(self) -> str | None:
        """Return SQLite's journal mode, `wal` unless the file system cannot; None for a server."""
        if self.path is None:
            return None
        with self.reading() as connection:
            return str(connection.exec_driver_sql("PRAGMA journal_mode").scalar_one())

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Turn the driver's errors into one that names the database and a cure."""
        try:
            yield
        except DBAPIError as error:
            problem = str(error.orig).strip().split("\n")[0]
            if "locked" in problem:
                problem = f"another process has been writing for {LOCK_SECONDS:.0f} s"
                cure = "try again; if it stays so, end the process that holds the file"
            elif "not a database" in problem:
                cure = "move the file away (a new one is made), or use another --home"
            elif self.path is not None:
                cure = "check the file's rights and the space on its disk"
            else:
                cure = "check that the server runs, and the URL's host, user and password"
            raise LedgerError(f"{self}: {problem}", cure) from error


def connect_args(url: str) -> dict[str, Any]:
    """Return what a driver is opened with: patience, for SQLite."""
    return {"timeout": LOCK_SECONDS} if url.startswith("sqlite") else {}


def _discipline(engine: Engine) -> None:
    """Make SQLite fit for several processes: readers beside a writer, one writer from the beginning."""

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        connection.execute("PRAGMA journal_mode=WAL")  # kept in the file; no effect when it is so already

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("sqlite_begin", "IMMEDIATE")
        connection.exec_driver_sql(f"BEGIN {mode}")


def _key(purpose: str) -> int:
    """Return PostgreSQL's number for an advisory lock."""
    return zlib.crc32(f"tracker ledger: {purpose}".encode())
