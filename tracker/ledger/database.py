"""One database for the ledger and Optuna: connections, transactions, locks, the clock.

SQLite takes the write lock when a transaction begins (BEGIN IMMEDIATE): with SQLite's default a
claim reads before it locks, and two processes get the same cell. PostgreSQL locks rows; a process
that is stopped while it holds locks there loses them after a while (`_patience`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError

from tracker.ledger.addresses import parse_url, public_name
from tracker.study.errors import LedgerError

LOCK_SECONDS = 30.0
"""How long a transaction waits for another process's."""

CONNECT_SECONDS = 10
"""How long a server may take to answer a new connection."""

SETUP_SECONDS = 120.0
"""How long an opening waits for another process that sets the database up."""


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file, whatever characters its path has."""
    return URL.create("sqlite", database=str(path)).render_as_string()


class Database:
    """Connections to the database at `url`, safe for threads; open one in each process.

    Args:
        lock_seconds: how long a transaction waits for another process's.

    Raises:
        LedgerError: not a SQLite or PostgreSQL database, or its driver is not installed.
    """

    def __init__(self, url: str, lock_seconds: float = LOCK_SECONDS) -> None:
        self.url = url
        self._lock_seconds = lock_seconds
        self._url = parse_url(url)
        self.dialect = self._url.get_backend_name()
        if self.dialect not in ("sqlite", "postgresql"):
            raise LedgerError(f"{self}: {self.dialect} is not supported", "use sqlite or postgresql+psycopg")
        if self.dialect == "sqlite" and self.path is None:
            raise LedgerError("a SQLite database in memory cannot be shared by workers", "sqlite:////path/trials.db")
        if "@" in (self._url.host or ""):
            raise LedgerError("the database URL has more than one @", "write %40 for an @ in the password")
        try:
            self._engine = create_engine(self._url, connect_args=self.connect_args(), **self._pool())
        except ImportError as error:
            raise LedgerError(f"{self}: {error.name} is not installed", f"pip install {error.name}") from error
        except NoSuchModuleError as error:
            raise LedgerError(f"{self}: {error}", "use postgresql+psycopg") from error
        if self.dialect == "sqlite":
            _discipline(self._engine)
        else:
            _patience(self._engine, lock_seconds)
        self._reader = self._engine.execution_options(sqlite_begin="DEFERRED")

    def __str__(self) -> str:
        """Name the database in messages, without its password."""
        return str(self.path or public_name(self._url))

    def connect_args(self) -> dict[str, Any]:
        """Return what the driver is opened with."""
        if self.dialect == "sqlite":
            return {"timeout": self._lock_seconds}
        wanted = {"application_name": "tracker", "connect_timeout": CONNECT_SECONDS}
        known = self._url.get_driver_name().startswith("psycopg")
        return {key: value for key, value in wanted.items() if known and key not in self._url.query}

    def _pool(self) -> dict[str, Any]:
        """Return how many connections are kept: to a server two at most, since there may be 1,000 workers."""
        if self.dialect == "sqlite":
            return {}
        return {"pool_size": 1, "max_overflow": 1, "pool_timeout": self._lock_seconds, "pool_pre_ping": True}

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
                connection.exec_driver_sql(_waits("LOCAL", SETUP_SECONDS))
                connection.execute(select(func.pg_advisory_xact_lock(_key("setup"))))
                yield

    def journal_mode(self) -> str | None:
        """Return SQLite's journal mode, `wal` unless the file system cannot; None for a server."""
        if self.path is None:
            return None
        with self.reading() as connection:
            return str(connection.exec_driver_sql("PRAGMA journal_mode").scalar_one())

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def upsert(self, connection: Connection, table: Table, key: Mapping[str, Any], **values: Any) -> None:
        """Change the row with this primary key, or add it."""
        add = (sqlite if self.dialect == "sqlite" else postgresql).insert(table).values(**key, **values)
        connection.execute(add.on_conflict_do_update(index_elements=list(key), set_=values))

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Turn the errors of driver and pool into one that names the database and a cure."""
        try:
            yield
        except SQLAlchemyError as error:
            problem = str(error.orig if isinstance(error, DBAPIError) else error).strip().split("\n")[0]
            if "locked" in problem or "lock timeout" in problem:
                problem = f"another process has been writing for {self._lock_seconds:.0f} s"
                cure = "try again; if it stays so, end the process that holds it"
            elif "not a database" in problem:
                cure = "move the file away (a new one is made), or use another --home"
            elif self.path is not None:
                cure = "check the file's rights and the space on its disk"
            else:
                cure = "check that the server runs, and the URL's host, user and password"
            raise LedgerError(f"{self}: {problem}", cure) from error


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


def _patience(engine: Engine, seconds: float) -> None:
    """Bound what PostgreSQL waits: for a lock, and for a process that was stopped while it holds some."""

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        with closing(connection.cursor()) as cursor:
            cursor.execute(_waits("SESSION", seconds))
        connection.commit()


def _waits(scope: str, seconds: float) -> str:
    """Return the statements that set both waits."""
    lock, idle = f"lock_timeout = {seconds * 1000:.0f}", f"idle_in_transaction_session_timeout = {seconds * 2000:.0f}"
    return f"SET {scope} {lock}; SET {scope} {idle}"


def _key(purpose: str) -> int:
    """Return PostgreSQL's number for an advisory lock."""
    return zlib.crc32(f"tracker ledger: {purpose}".encode())
