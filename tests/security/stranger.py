"""A server that answers what a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit


class Stranger(ThreadingHTTPServer):
    """Answers by path: JSON for what is a dict, else the bytes; 404 for other paths."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, dict[str, Any] | bytes] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        """Path and headers of each request."""

    @property
    def host(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.server_port}"

    @property
    def uri(self) -> str:
        """Its address."""
        return f"http://{self.host}"

    def paths(self) -> list[str]:
        """Return what was asked for, in order."""
        return [path for path, _ in self.asked]


class _Handler(BaseHTTPRequestHandler):
    server: Stranger

    def do_GET(self) -> None:
        """Answer as told."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = urlsplit(self.path).path
        self.server.asked.append((path, dict(self.headers)))
        answer = self.server.answers.get(path)
        body = json.dumps(answer).encode() if isinstance(answer, dict) else answer
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def stranger() -> Iterator[Stranger]:
    """Yield a server that listens."""
    with Stranger() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def a_run(artifact_uri: str, **tags: str) -> dict[str, Any]:
    """Return a run as MLflow's API gives it."""
    return {
        "info": {
            "run_id": "0" * 32,
            "run_name": "a",
            "experiment_id": "1",
            "status": "RUNNING",
            "start_time": 1,
            "lifecycle_stage": "active",
            "artifact_uri": artifact_uri,
        },
        "data": {"metrics": [], "params": [], "tags": [{"key": key, "value": value} for key, value in tags.items()]},
    }


def an_experiment(name: str) -> dict[str, Any]:
    """Return an experiment as MLflow's API gives it."""
    return {
        "experiment_id": "1",
        "name": name,
        "artifact_location": "mlflow-artifacts:/1",
        "lifecycle_stage": "active",
        "tags": [],
    }
