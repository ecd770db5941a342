"""A study small enough to sweep in seconds, and the command that sweeps it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import create_engine

from tests.sweep import crew_of_one
from tests.sweep.trials import Bench, served
from tracker.cli.main import cli
from tracker.ledger.ledger import Ledger
from tracker.ledger.rows import CellRow
from tracker.study.home import Home
from tracker.tracking.reading import read_runs
from tracker.tracking.records import RunRecord
from tracker.tracking.server.addresses import database_uri

STUDY = """
question: Does a small study run whole?
datasets:
  low: {kind: digits, classes: [0, 1, 2], image_size: 16}
  high: {kind: digits, classes: [7, 8, 9], image_size: 16}
sources:
  low: {dataset: low, epochs: 1, batch_size: 64, flip: false, limit_train: 96, limit_test: 60}
recipe:
  model: mobilenet_v3_small
  dataset: high
  source: low
  epochs: 2
  batch_size: 32
  flip: false
  crop_padding: 1
  val_fraction: 0.2
  limit_train: 64
  limit_test: 60
axes:
  normalization: [pretrain, finetune, instance, minmax]
  seed: [1]
"""

IN_FOREGROUND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that put the tests behind an & ignores it
from tracker.cli.main import main
main()
"""
"""`tracker`, as Python code that Ctrl-C reaches in any case."""

Tracker = Callable[..., subprocess.CompletedProcess[str]]


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a command that works in `home` and nowhere else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "TRACKER"))}
    return kept | {"TRACKER_HOME": str(home), "COLUMNS": "120", "OMP_NUM_THREADS": "1"}


def run_tracker(home: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `tracker ...` as a process of its own and check its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "tracker", *arguments],
        capture_output=True,
        text=True,
        cwd=home.parent,
        env=environment(home),
        timeout=240,
    )
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def ask_tracker(home: Path, *arguments: str) -> Result:
    """Run a `tracker ...` that trains nothing, in this process, which has imported everything."""
    done = CliRunner().invoke(cli, arguments, env=environment(home), catch_exceptions=False)
    assert done.exit_code == 0, f"exit code {done.exit_code}\n{done.output}"
    return done


def runs_of(home: Path, study: str = "small") -> list[RunRecord]:
    """Read a study's runs straight from MLflow's file."""
    return read_runs(database_uri(Home(home)), study)


def ledger_rows(home: Path, study: str) -> list[CellRow]:
    """Read a study's cells from the ledger."""
    with Ledger.local(Home(home)) as ledger:
        return ledger.rows(study)


def artifact(home: Path, run: RunRecord, name: str) -> Path:
    """Return the stored file of a run's artifact."""
    found = list((home / "artifacts").glob(f"*/{run.run_id}/artifacts/{name}"))
    assert len(found) == 1, found
    return found[0]


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, subprocess.CompletedProcess[str]]:
    """A home in which the small study was swept once, its file, and what the command printed."""
    folder = tmp_path_factory.mktemp("swept")
    study = folder / "small.yaml"
    study.write_text(STUDY)
    home = folder / "mlruns"
    return home, study, run_tracker(home, "sweep", "--study", str(study), "--workers", "2")


@pytest.fixture(scope="session")
def one_fork_server() -> None:
    """Start the fork server with all that workers import: a process has one, and who starts it says what it imports."""
    crew_of_one.CONTEXT.set_forkserver_preload(crew_of_one.PRELOADED)
    forkserver.ensure_running()


@pytest.fixture
def empty_postgresql(postgresql: str) -> str:
    """The URL of an empty PostgreSQL database."""
    name = f"t{uuid4().hex}"
    engine = create_engine(postgresql.format(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return postgresql.format(database=name)


@pytest.fixture
def bench(home: Home) -> Iterator[Bench]:
    """A home whose MLflow server runs."""
    with served(home) as bench:
        yield bench
