"""MLflow's own server with users and passwords, for tests that speak to one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.sweep.conftest import environment
from tracker.study.home import Home
from tracker.tracking.server.health import answers


@contextmanager
def served_with_auth(home: Home, database: str, settings: Path) -> Iterator[str]:
    """Run MLflow's own server with basic auth on PostgreSQL; yield its address."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--host", "127.0.0.1"),
        *("--port", str(port), "--workers", "1", "--backend-store-uri", database, "--serve-artifacts"),
        *("--artifacts-destination", home.artifacts.as_uri()),
    ]
    given = {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a-secret-of-a-test",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with open(home.server / "log", "wb") as log:
        server = subprocess.Popen(
            command, env=environment(home.root) | given, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 120
        while not answers(f"http://127.0.0.1:{port}"):
            assert server.poll() is None and time.monotonic() < deadline, (home.server / "log").read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


def free_port() -> int:
    """Return a port that nobody has at this moment."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
