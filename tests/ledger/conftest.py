"""Databases of both kinds, and small studies to fill them with."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy import create_engine

from tracker.ledger.ledger import Ledger, local_url
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.study import Study

MakeStudy = Callable[..., Study]


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


def lacking_for_postgresql() -> str | None:
    """Say what keeps tests from running on PostgreSQL here, None if nothing does."""
    if find_spec("psycopg") is None:
        return "no PostgreSQL driver: pip install 'psycopg[binary]'"
    if None in (server_program("initdb"), server_program("postgres")):
        return "no PostgreSQL server: apt-get install postgresql"
    return None


def server_program(name: str) -> str | None:
    """Find one of PostgreSQL's programs, also where Debian hides them."""
    places = [*os.environ["PATH"].split(os.pathsep), *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
    return shutil.which(name, path=os.pathsep.join(places))


KINDS = ["sqlite"] if lacking_for_postgresql() else ["sqlite", "postgresql"]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server of our own, on a socket, without a database's name."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path has at most 107 characters
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    if user:
        shutil.chown(folder, user)
    data, log = folder / "data", folder / "log"
    make = [str(server_program("initdb")), "-D", str(data), "-U", "tracker", "-A", "trust", "-N"]
    subprocess.run(make, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)
    serve = [str(server_program("postgres")), "-D", str(data), "-k", str(folder), "-F", "-c", "listen_addresses="]
    with log.open("wb") as errors:
        server = subprocess.Popen(serve, user=user, cwd=folder, stderr=errors)
    try:
        deadline = time.monotonic() + 30
        while not (folder / ".s.PGSQL.5432").exists():
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield f"postgresql+psycopg://tracker@/{{database}}?host={folder}"
    finally:
        server.send_signal(signal.SIGINT)  # SIGTERM would wait for its clients
        server.wait(30)
        shutil.rmtree(folder)


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, home: Home) -> str:
    """The URL of an empty database, of each kind that can be had here in turn."""
    if request.param == "sqlite":
        home.make(home.root)
        return local_url(home)
    server: str = request.getfixturevalue("postgresql")
    name = f"t{uuid4().hex}"
    engine = create_engine(server.format(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return server.format(database=name)


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
