"""Which schema a database has, and how it comes to have this program's."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, insert, inspect, select

from tracker.ledger.database import Database
from tracker.ledger.tables import KNOWN_SCHEMAS, SCHEMA, ledger_version, metadata
from tracker.study.errors import LedgerError
from tracker.study.home import replacing

MIGRATIONS = Path(__file__).parent / "migrations"


def prepare(database: Database, make_optunas_tables: Callable[[], object]) -> None:
    """Make the tables where there are none, and migrate older ones; the others who open it wait.

    Writes: for an older SQLite file, a copy of it as it was, `trials.db.0001.backup` beside it.

    Raises:
        LedgerError: not a database, not reachable, or written by a newer version of this program.
    """
    with database.setting_up():
        found = read_schema(database)
        if found is None:
            make_optunas_tables()
            create(database)
        elif found != SCHEMA:
            migrate(database, found)


def read_schema(database: Database) -> str | None:
    """Return the ledger's schema in this database, None where there is none yet.

    Raises:
        LedgerError: not a database, not reachable, or written by a newer version of this program.
    """
    with database.reading() as connection:
        if not inspect(connection).has_table(ledger_version.name):
            return None
        found = connection.execute(select(ledger_version.c.version_num)).scalar_one_or_none()
    if found is not None and found not in KNOWN_SCHEMAS:
        raise LedgerError(
            f"{database}: its schema {found} is newer than this program's {SCHEMA}",
            "update the program (pip install --upgrade norm-tracker), or use another --home",
        )
    return found


def create(database: Database) -> None:
    """Make the ledger's tables and note their version, in one transaction."""
    with database.writing() as connection:
        metadata.create_all(connection)
        connection.execute(insert(ledger_version).values(version_num=SCHEMA))


def migrate(database: Database, found: str) -> None:
    """Bring tables of the older schema `found` to this program's, in one transaction."""
    with database.writing() as connection:
        if database.path is not None:
            _keep_copy(database, database.path, found)  # nobody writes now: the transaction has the lock
        upgrade(connection, found)


def upgrade(connection: Connection, found: str | None) -> None:
    """Run the revisions that lead from schema `found` to the newest, inside the caller's transaction.

    Args:
        found: None for a database without the ledger's tables.
    """
    from alembic.migration import MigrationContext  # most openings migrate nothing
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(MIGRATIONS))
    context = MigrationContext.configure(connection, opts={"version_table": ledger_version.name})
    with Operations.context(context):
        for script in reversed(list(scripts.iterate_revisions("head", found or "base"))):
            script.module.upgrade()
            context.stamp(scripts, script.revision)


def _keep_copy(database: Database, path: Path, found: str) -> None:
    """Keep a SQLite file as it is before a migration."""
    copy = path.with_name(f"{path.name}.{found}.backup")
    try:
        with (
            replacing(copy) as temporary,
            closing(sqlite3.connect(path)) as source,
            closing(sqlite3.connect(temporary)) as target,
        ):
            source.backup(target)
    except (OSError, sqlite3.Error) as error:
        raise LedgerError(
            f"{database}: {copy} cannot be written, so the tables were not migrated: {error}",
            f"make room for a copy of the file ({path.stat().st_size / 1e6:.0f} MB)",
        ) from error
