"""optuna-dashboard on the trial database: looked at, not changed."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import RDBStorage
from sqlalchemy.pool import NullPool

from tracker.ledger.database import Database
from tracker.study.errors import LedgerError, TrackerError, UsageError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
READING = ("GET", "HEAD")

Environment = dict[str, Any]
Start = Callable[..., Any]
Application = Callable[[Environment, Start], Iterable[bytes]]


class Dashboard:
    """A web server that shows the studies of a trial database; it has no password.

    Optuna's page can rename and delete studies and close trials. The ledger would know nothing of it, so
    every request that is not one for reading is refused.

    Args:
        url: the trial database, made by `Ledger`.
        host: the address it listens on.
        port: 0 takes a free one.

    Raises:
        TrackerError: optuna-dashboard is not installed, or the address cannot be listened on.
        LedgerError: the database cannot be read.
    """

    def __init__(self, url: str, host: str = LOOPBACK[0], port: int = 0) -> None:
        try:
            from optuna_dashboard import wsgi
        except ImportError as error:
            raise TrackerError(
                f"optuna-dashboard is not installed here ({error.name})", "pip install 'norm-tracker[dashboard]'"
            ) from error
        self._database = Database(url)
        options = {"connect_args": self._database.connect_args(), "poolclass": NullPool}
        try:
            self._storage = RDBStorage(self._database.url, engine_kwargs=options)
        except RuntimeError as error:  # how Optuna says that the schema is not its own
            raise LedgerError(f"{self._database}: {error}") from error
        self._server = _listen(_read_only(wsgi(self._storage), host), host, port)

    @property
    def address(self) -> str:
        """Where it answers, as a URL."""
        host, port = self._server.server_address[:2]
        return f"http://[{host!s}]:{port}" if ":" in str(host) else f"http://{host!s}:{port}"

    def study_address(self, study: str) -> str:
        """Return where a study is shown: its question, its trials over time, the best one.

        Raises:
            UsageError: Optuna has no such study.
        """
        for found in self._storage.get_all_studies():
            if found.study_name == study:
                return f"{self.address}/dashboard/studies/{found._study_id}"
        raise UsageError(f"{self._database} has no study {study!r}", f"tracker sweep --study {study} begins one")

    def serve(self) -> None:
        """Answer until `stop`, or Ctrl-C."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna's, of plots that few trials do not suffice for
                self._server.serve_forever(poll_interval=0.2)
        finally:
            self._server.server_close()
            self._storage.remove_session()
            self._storage.engine.dispose()
            self._database.close()

    def stop(self) -> None:
        """End `serve`, from another thread."""
        self._server.shutdown()


class _Server(ThreadingMixIn, WSGIServer):
    """Answers several requests at once: a page makes a dozen."""

    daemon_threads = True
    address_family = socket.AF_INET

    def handle_error(self, *_: object) -> None:
        """Say nothing of a browser that has gone away in the middle of an answer."""


class _ServerIPv6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    """Does not write a line for each request."""

    def log_message(self, *_: object) -> None:
        """Write nothing."""


def _listen(application: Application, host: str, port: int) -> WSGIServer:
    server_class = _ServerIPv6 if ":" in host else _Server
    try:
        return make_server(host, port, application, server_class, _Quiet)
    except OSError as error:
        why = error.strerror or str(error)
        raise TrackerError(
            f"cannot listen on {host}, port {port}: {why}", "another --port, or another --host"
        ) from error


def _read_only(application: Application, host: str) -> Application:
    """Let reading requests through, and on this machine's own address only those that name it.

    A web page elsewhere can have its own name resolved to 127.0.0.1, and would read the answers.
    """

    def guarded(environment: Environment, start: Start) -> Iterable[bytes]:
        asked = urlsplit(f"//{environment.get('HTTP_HOST', '')}").hostname
        if host in LOOPBACK and asked not in LOOPBACK:
            return _refuse(start, "403 Forbidden", "This server answers to 127.0.0.1 and localhost only.")
        if environment.get("REQUEST_METHOD") not in READING:
            return _refuse(start, "405 Method Not Allowed", "The studies can be looked at here, not changed.")
        return application(environment, start)

    return guarded


def _refuse(start: Start, status: str, reason: str) -> list[bytes]:
    body = f'{{"reason": "{reason}"}}'.encode()
    start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
