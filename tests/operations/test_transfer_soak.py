"""An import killed wherever it may be, and one into PostgreSQL behind a password, arrive whole."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from benchmarks.postgresql import lacking
from tests.ledger.conftest import make_database
from tests.operations.auth_server import served_with_auth
from tests.operations.transfer_material import NAME, Half
from tests.operations.transferring import ask, check_arrived
from tests.sweep.conftest import environment
from tracker.ledger.ledger import Ledger, local_url
from tracker.study.home import Home
from tracker.tracking.server import lifecycle

KILLED_AT = """
import os, signal, sys
from mlflow import MlflowClient
name, nth = sys.argv[1], int(sys.argv[2])
real = getattr(MlflowClient, name)
count = 0
def dying(*arguments, **keywords):
    global count
    done = real(*arguments, **keywords)
    count += 1
    if count == nth:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
setattr(MlflowClient, name, dying)
sys.argv = ["tracker", *sys.argv[3:]]
from tracker.cli.main import main
main()
"""
"""`tracker`, killed right after the nth call of a method of MLflow's client."""


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_killed_import_is_completed(half: Half, bundle: Path, tmp_path: Path) -> None:
    """SIGKILL at any of many moments, each in what the last one left: in the end nothing is there twice."""
    home = Home(tmp_path / "mlruns")
    uri = lifecycle.start(home).uri
    assert uri is not None
    try:
        MlflowClient(uri).create_experiment("of somebody else")
        kills = (
            ("create_experiment", 1), ("create_run", 1), ("create_run", 4), ("create_logged_model", 2),
            ("log_batch", 1), ("log_batch", 5), ("log_inputs", 1), ("log_outputs", 1), ("set_terminated", 2),
            ("set_tag", 1), ("create_model_version", 2), ("delete_model_version", 1), ("set_registered_model_alias", 1),
            ("set_experiment_tag", 2),
        )  # fmt: skip
        for method, nth in kills:
            command = [sys.executable, "-c", KILLED_AT, method, str(nth), "import-runs", str(bundle)]
            done = subprocess.run(command, env=environment(home.root), capture_output=True, text=True, timeout=240)
            assert done.returncode == -signal.SIGKILL, (method, nth, done.stderr)
        ask(home, "import-runs", str(bundle))
        check_arrived(half, home, uri, local_url(home))
    finally:
        lifecycle.stop(home)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.skipif(lacking() is not None, reason=str(lacking()))
def test_to_postgresql_behind_a_password(half: Half, bundle: Path, tmp_path: Path, postgresql: str) -> None:
    """From SQLite to a server with PostgreSQL and basic auth, trial database included; and back into SQLite."""
    mlflow_url, auth_url, trials_url = (make_database(postgresql) for _ in range(3))
    there = Home(tmp_path / "there")
    there.make(there.server)
    settings = there.server / "auth.ini"
    settings.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {auth_url}\nadmin_username = admin\n"
        "admin_password = a-password-of-a-test\nauthorization_function = "
        "mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    with served_with_auth(there, mlflow_url, settings) as uri:
        given = {
            "MLFLOW_TRACKING_URI": uri,
            "MLFLOW_TRACKING_USERNAME": "admin",
            "MLFLOW_TRACKING_PASSWORD": "a-password-of-a-test",
            "TRACKER_STORAGE": trials_url,
        }
        command = [sys.executable, "-m", "tracker", "import-runs", str(bundle)]
        refused = subprocess.run(
            command, env=environment(there.root) | given | {"MLFLOW_TRACKING_PASSWORD": "wrong"}, capture_output=True,
            text=True, timeout=120,
        )  # fmt: skip
        assert refused.returncode == 1 and "MLFLOW_TRACKING_PASSWORD" in refused.stderr
        done = subprocess.run(command, env=environment(there.root) | given, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        with pytest.MonkeyPatch.context() as patch:
            for name, value in given.items():
                patch.setenv(name, value)
            check_arrived(half, there, uri, trials_url)
        back = tmp_path / "back.bundle"
        packed = subprocess.run(
            [sys.executable, "-m", "tracker", "export-runs", "--all", "-o", str(back)],
            env=environment(there.root) | given, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert packed.returncode == 0, packed.stderr
    home = Home(tmp_path / "again")
    done = subprocess.run(
        [sys.executable, "-m", "tracker", "import-runs", str(back)],
        env=environment(home.root), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with Ledger.local(home) as ledger, Ledger.local(half.home) as old:
        assert [row.state for row in ledger.rows(NAME)] == [row.state for row in old.rows(NAME)]
