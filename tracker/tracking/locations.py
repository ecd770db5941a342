"""Where MLflow's database says that files lie, and how it learns that they lie elsewhere.

Runs made through a server name their files `mlflow-artifacts:/...`, which holds wherever the server
runs. Runs that were written straight to the SQLite file name absolute paths.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.store.db.utils import create_sqlalchemy_engine

from tracker.study.errors import TrackingError
from tracker.tracking.client import short, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Every column of MLflow's schema that names the place of a file of ours."""

USED = (("runs", "artifact_uri"), ("logged_models", "artifact_location"))
"""Those of them under which files are; an experiment's is where new runs go."""


def knows_revision(revision: str) -> bool:
    """Say whether the MLflow that is installed knows a revision; it does not know a newer one's."""
    import mlflow.store.db_migrations
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    folder = Path(mlflow.store.db_migrations.__file__).parent
    try:
        return ScriptDirectory(str(folder)).get_revision(revision) is not None
    except CommandError:
        return False


def file_places(database_uri: str) -> list[str]:
    """Return the places under which runs and logged models have their files, each once.

    Raises:
        TrackingError: the database cannot be read.
    """
    with _database(database_uri) as connection:
        return sorted({value for table, column in USED for value in _values(connection, table, column)})


def read_columns(database_uri: str, table: str, *columns: str) -> Sequence[Sequence[Any]]:
    """Return some columns of every row of a table of MLflow's; nothing where a database has no such table.

    Raises:
        TrackingError: the database cannot be read.
    """
    with _database(database_uri) as connection:
        if not all(_has(connection, table, column) for column in columns):
            return []
        query = f"SELECT {', '.join(columns)} FROM {table}"  # noqa: S608 (names that callers write out)
        rows: Sequence[Sequence[Any]] = connection.exec_driver_sql(query).fetchall()
        return rows


def move_places(database_uri: str, old: Path, new: Path) -> int:
    """Let every place under the folder `old` be one under `new`; return how many there were.

    Raises:
        TrackingError: the database cannot be changed.
    """
    prefixes = {str(old): str(new), old.as_uri(): new.as_uri()}
    moved = 0
    with _database(database_uri) as connection:
        for table, column in COLUMNS:
            for value in _values(connection, table, column):
                for before, after in prefixes.items():
                    if value == before or value.startswith(f"{before}/"):
                        moved += _replace(connection, table, column, value, after + value.removeprefix(before))
    return moved


def _values(connection: Any, table: str, column: str) -> Sequence[str]:
    if not _has(connection, table, column):
        return []
    query = f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL"  # noqa: S608 (names of COLUMNS)
    return [str(row[0]) for row in connection.exec_driver_sql(query).fetchall()]


def _replace(connection: Any, table: str, column: str, value: str, by: str) -> int:
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    statement = f"UPDATE {table} SET {column} = {mark} WHERE {column} = {mark}"  # noqa: S608 (names of COLUMNS)
    return int(connection.exec_driver_sql(statement, (by, value)).rowcount)


def _has(connection: Any, table: str, column: str) -> bool:
    """Say whether the database, perhaps of another version of MLflow, has a column."""
    names = connection.dialect.get_table_names(connection)
    return table in names and column in {found["name"] for found in connection.dialect.get_columns(connection, table)}


@contextmanager
def _database(uri: str) -> Iterator[Any]:
    """Yield a connection in a transaction; MLflow's own engine, so that any database it takes will do."""
    engine = None
    try:
        engine = create_sqlalchemy_engine(uri)
        with engine.begin() as connection:
            yield connection
    except TrackingError:
        raise
    except Exception as error:  # SQLAlchemy's errors, the driver's, a driver that is not installed
        raise TrackingError(f"MLflow's database {shown(uri)}: {short(error)}") from error
    finally:
        if engine is not None:
            engine.dispose()
