"""Databases of both kinds, and small studies to fill them with."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy import Connection, create_engine
from sqlalchemy.engine.interfaces import IsolationLevel

from tracker.ledger.database import Database
from tracker.ledger.ledger import CellRow, Claim, Ledger, local_url
from tracker.study.failures import Failure, RetryPolicy
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.study import Study

MakeStudy = Callable[..., Study]

METRICS = {"best_acc": 0.75, "last_acc": 0.5, "best_epoch": 1.0}
CRASH = Failure("exception", "ValueError", "no such thing")
POLICY = RetryPolicy(max_attempts=3, wait_seconds=10, max_wait_seconds=600)


@pytest.fixture
def make_study() -> MakeStudy:
    """A function that makes a study of `models` x `normalizations` x `seeds`; other keywords go into the recipe."""

    def make(
        seeds: Sequence[int] = (1, 2),
        normalizations: Sequence[str] = ("pretrain", "finetune"),
        models: Sequence[str] = ("resnet18",),
        name: str = "small",
        **recipe: object,
    ) -> Study:
        axes = {"model": list(models), "normalization": list(normalizations), "seed": list(seeds)}
        document = {
            "name": name,
            "question": "Which?",
            "recipe": {"dataset": "digits", "source": "random", "epochs": 2, **recipe},
            "axes": axes,
        }
        return parse_study(document, file="study of a test")

    return make


KINDS = ["sqlite", "postgresql"]


def make_database(server: str) -> str:
    """Make a database on a server, and return its URL."""
    name = f"t{uuid4().hex}"
    statement(server.format(database="postgres"), f"CREATE DATABASE {name}", "AUTOCOMMIT")
    return server.format(database=name)


@pytest.fixture(scope="session")
def prepared_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the tables of a ledger."""
    home = Home(tmp_path_factory.mktemp("prepared"))
    Ledger.local(home).close()
    return home.trials_db


@pytest.fixture(scope="session")
def prepared_database(postgresql: str) -> str:
    """The URL of a database on the server with the tables of a ledger; making one takes too long for each test."""
    url = make_database(postgresql)
    Ledger(url).close()
    return url


@pytest.fixture
def server_url(request: pytest.FixtureRequest) -> str:
    """The URL of a ledger without studies on a PostgreSQL server."""
    url: str = request.getfixturevalue("prepared_database")
    statement(url, "TRUNCATE cells, ledger_studies, devices_aside, studies, trials CASCADE")
    return url


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of database that can be had here in turn."""
    found: str = request.param
    return found


@pytest.fixture
def empty_url(kind: str, request: pytest.FixtureRequest, home: Home) -> str:
    """The URL of a database without tables."""
    if kind == "postgresql":
        return make_database(request.getfixturevalue("postgresql"))
    home.make(home.root)
    return local_url(home)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest, home: Home) -> str:
    """The URL of a ledger without studies; a test that changes its tables takes `empty_url`."""
    if kind == "postgresql":
        found: str = request.getfixturevalue("server_url")
        return found
    home.make(home.root)
    shutil.copy(request.getfixturevalue("prepared_file"), home.trials_db)
    return local_url(home)


@contextmanager
def optuna_study(url: str, name: str = "small") -> Iterator[optuna.Study]:
    """Open a study as anybody would who knows Optuna and nothing of the ledger."""
    storage = RDBStorage(url)
    try:
        yield optuna.load_study(study_name=name, storage=storage)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def trials_of(url: str, name: str = "small") -> list[FrozenTrial]:
    """Read Optuna's trials."""
    with optuna_study(url, name) as study:
        trials: list[FrozenTrial] = study.trials
        return trials


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """A ledger with leases that outlast any test."""
    with Ledger(url) as opened:
        yield opened


def claimed(ledger: Ledger, study: str = "small", worker: str = "worker") -> Claim:
    """Claim a cell that must be there."""
    claim = ledger.leases.claim(study, worker)
    assert claim is not None
    return claim


def only(rows: list[CellRow], state: str) -> CellRow:
    """Return the one row in a state."""
    (row,) = [row for row in rows if row.state == state]
    return row


def statement(url: str, sql: str, isolation: IsolationLevel = "SERIALIZABLE") -> list[tuple[object, ...]]:
    """Run one SQL statement behind the ledger's back, and return what it gives."""
    engine = create_engine(url, isolation_level=isolation)
    with engine.begin() as connection:
        result = connection.exec_driver_sql(sql)
        rows = [tuple(row) for row in result] if result.returns_rows else []
    engine.dispose()
    return rows


class Clock:
    """A clock that only a test moves."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def move(self, seconds: float) -> None:
        """Go forward, or back."""
        self.moment = self.after(seconds)

    def after(self, seconds: float) -> datetime:
        """Return a moment from now."""
        return self.moment + timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which leases are measured, in the test's hand."""
    clock = Clock()

    def now(_database: Database, _connection: Connection) -> datetime:
        return clock.moment

    monkeypatch.setattr(Database, "now", now)
    return clock


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a process that runs a script."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def let_go(process: subprocess.Popen[str]) -> None:
    """Send the line a script waits for."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
