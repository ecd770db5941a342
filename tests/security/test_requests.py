"""The local server, attacked from a web page of the user's browser and with a home that somebody else made."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tracker.study.home import Home
from tracker.tracking.server import lifecycle

pytestmark = pytest.mark.soak

CREATE = "/api/2.0/mlflow/experiments/create"
SEARCH = "/api/2.0/mlflow/experiments/search"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a real server, whose home has modules that would be taken for MLflow's and Python's own."""
    home = Home(tmp_path_factory.mktemp("server") / "mlruns")
    home.make(home.server)
    for name in ("mlflow", "uvicorn", "random", "json", "sitecustomize"):
        (home.server / f"{name}.py").write_text(f"open({str(home.root / 'owned')!r}, 'w')\n")
    uri = lifecycle.start(home).uri
    assert uri is not None
    yield int(uri.rpartition(":")[2])
    lifecycle.stop(home)
    assert not (home.root / "owned").exists(), "a module from the home was imported"


def ask(port: int, method: str, path: str, body: object = None, **headers: str) -> tuple[int, str, dict[str, str]]:
    """Send a request; `_` in a header's name is a dash."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    named = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request(method, path, None if body is None else json.dumps(body), named)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(errors="replace"), dict(answer.getheaders())
    connection.close()
    return found


def names(port: int) -> set[str]:
    """Return the names of the experiments there are."""
    _, text, _ = ask(port, "POST", SEARCH, {"max_results": 100})
    return {each["name"] for each in json.loads(text)["experiments"]}


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:5000", "127.0.0.1.evil.example", "localhost.evil.example"]
)
def test_another_host_is_refused(host: str, port: int) -> None:
    """A page whose name was made to point at 127.0.0.1 (DNS rebinding) gets nothing, neither data nor the page."""
    for path in ("/", SEARCH, "/ajax-api/2.0/mlflow/experiments/search?max_results=5"):
        status, text, _ = ask(port, "GET", path, Host=host)
        assert status in (400, 403) and "Default" not in text


@pytest.mark.parametrize("origin", ["http://evil.example", "https://127.0.0.1.evil.example", "null"])
def test_another_origin_is_refused(origin: str, port: int) -> None:
    """A page of another site cannot change anything, and is not given leave to read."""
    status, _, headers = ask(port, "POST", CREATE, {"name": f"from {origin}"}, Origin=origin)
    assert status in (400, 403) and "Access-Control-Allow-Origin" not in headers
    assert f"from {origin}" not in names(port)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_form_is_refused(kind: str, port: int) -> None:
    """Nor with a request that a browser sends without asking first."""
    ask(port, "POST", CREATE, {"name": f"form {kind}"}, Origin="http://evil.example", Content_Type=kind)
    assert f"form {kind}" not in names(port)


def test_the_page_itself_works(port: int) -> None:
    """What the page of the server sends is taken: the refusals above are not of everything."""
    ask(port, "POST", CREATE, {"name": "own"}, Origin=f"http://127.0.0.1:{port}")
    assert "own" in names(port)


def test_nobody_else_reaches_it(port: int) -> None:
    """It listens on 127.0.0.1 alone."""
    places = {
        each.laddr.ip for each in psutil.net_connections("tcp") if each.laddr.port == port and each.status == "LISTEN"
    }
    assert places == {"127.0.0.1"}


@pytest.mark.parametrize(
    "path", ["../../../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "/etc/passwd", "..%2f..%2fetc%2fpasswd"]
)
def test_artifacts_lead_nowhere_else(path: str, port: int) -> None:
    """No name of an artifact leads out of the server's folder."""
    for start in (
        "/api/2.0/mlflow-artifacts/artifacts/",
        "/get-artifact?run_uuid=x&path=",
        "/ajax-api/2.0/mlflow-artifacts/artifacts?path=",
    ):
        status, text, _ = ask(port, "GET", f"{start}{path}")
        assert status >= 400 and "root:" not in text


def test_the_assistant_is_off(port: int) -> None:
    """MLflow's assistant, which runs shell commands for whoever is on this machine, is not there."""
    for path in ("/ajax-api/3.0/mlflow/assistant/message", "/ajax-api/3.0/mlflow/assistant/status"):
        assert ask(port, "POST", path, {})[0] == ask(port, "GET", path)[0] == 403


def test_what_is_not_defended(port: int, tmp_path: Path) -> None:
    """Any program of this machine that reaches the port makes experiments in any folder, as docs/security.md says.

    Should MLflow come to refuse it, that page has a line less.
    """
    status, _, _ = ask(port, "POST", CREATE, {"name": "anywhere", "artifact_location": tmp_path.as_uri()})
    assert status == 200
