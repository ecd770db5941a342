"""A team's server, run in the foreground as a container does: nobody in without a password, no secret in sight."""

from __future__ import annotations

import base64
import http.client
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.tracking.client import check_reachable, connect
from tracker.tracking.server import lifecycle
from tracker.tracking.server.health import answers
from tracker.tracking.server.record import read_record

ROOT = Path(__file__).resolve().parents[2]
SECRET_KEY = "the-key-of-this-test-only"  # noqa: S105
PASSWORD = "the word of this test"  # noqa: S105
SEARCH = "/api/2.0/mlflow/experiments/search?max_results=1"
CREATE = "/api/2.0/mlflow/experiments/create"


@dataclass(frozen=True)
class Team:
    """A server that runs.

    Args:
        said: what it printed to stderr so far, in a file.
    """

    home: Home
    uri: str
    process: subprocess.Popen[str]
    said: Path

    def ask(
        self, path: str, *, user: str | None = None, body: str | None = None, method: str = "POST", **headers: str
    ) -> tuple[int, str]:
        """Send a request, GET without a body; return status and body."""
        parts = urlsplit(self.uri)
        assert parts.hostname is not None
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        if user is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
        headers |= {} if body is None else {"Content-Type": "application/json"}
        connection.request("GET" if body is None else method, path, body, headers)
        answer = connection.getresponse()
        found = answer.status, answer.read().decode()
        connection.close()
        return found


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """`tracker server run --team`, with its secrets in files."""
    folder = tmp_path_factory.mktemp("team")
    home = Home(folder / "a 50% home")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "TRACKER"))}
    for name, secret in (("MLFLOW_FLASK_SERVER_SECRET_KEY", SECRET_KEY), ("MLFLOW_AUTH_ADMIN_PASSWORD", PASSWORD)):
        (folder / name).write_text(secret + "\n")
        environment[f"{name}_FILE"] = str(folder / name)
    environment |= {"TRACKER_HOME": str(home.root), "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true"}
    command = [sys.executable, "-m", "tracker", "server", "run", "--team", "--allowed-hosts", "mlflow.example.org"]
    said = folder / "stderr"
    with (
        said.open("w") as errors,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout is not None
        uri = process.stdout.readline().strip()
        assert uri, said.read_text()
        yield Team(home, uri, process, said)
        if process.poll() is None:
            process.terminate()


def test_nobody_comes_in_without_the_password(team: Team) -> None:
    """Its health is everybody's to ask, its runs are not; what older MLflow shipped opens nothing."""
    assert answers(team.uri)
    assert team.ask("/health")[0] == 200
    for user in (None, "admin:password", "admin:password1234", f"nobody:{PASSWORD}", "admin:"):
        assert team.ask(SEARCH, user=user)[0] == 401, user
    assert team.ask("/", user=None)[0] == 401
    status, body = team.ask(SEARCH, user=f"admin:{PASSWORD}")
    assert (status, '"Default"' in body) == (200, True)


def test_a_changed_password_counts_at_once(team: Team) -> None:
    """That a password was right is remembered for a minute, but not beyond its change, nor its user's end."""
    admin, users = f"admin:{PASSWORD}", "/api/2.0/mlflow/users"
    for action, method, fields in (
        ("create", "POST", '"password": "the first of carol"'),
        ("update-password", "PATCH", '"password": "the next of carol"'),
    ):
        body = f'{{"username": "carol", {fields}}}'
        assert team.ask(f"{users}/{action}", user=admin, body=body, method=method)[0] == 200
        words = ("the first of carol", "the next of carol")
        answers = [team.ask(SEARCH, user=f"carol:{word}")[0] for word in words]
        assert answers == ([200, 401] if action == "create" else [401, 200])
    assert team.ask(f"{users}/delete", user=admin, body='{"username": "carol"}', method="DELETE")[0] == 200
    assert team.ask(SEARCH, user="carol:the next of carol")[0] == 401


def test_the_message_without_credentials_names_the_variables(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong or missing, the program says which variables to set; with them it is let in."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    for password in ("", "wrong"):
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
        with pytest.raises(TrackingError) as caught:
            check_reachable(team.uri)
        assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in str(caught.value.cure)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    assert connect(team.uri).get_experiment("0").name == "Default"


def test_names_and_origins_are_checked_with_a_password_too(team: Team) -> None:
    """The names given and the UI's own pages pass; foreign ones do not, whatever the environment would switch off."""
    admin = f"admin:{PASSWORD}"
    for host, expected in (("mlflow.example.org", 200), ("localhost:1", 200), ("evil.example", 403)):
        assert team.ask(SEARCH, user=admin, Host=host)[0] == expected, host
    for origin, expected in (
        ("https://mlflow.example.org", 200),
        (team.uri, 200),
        ("https://evil.example", 403),
        ("http://10.evil.example", 403),
    ):
        body = f'{{"name": "by {origin}"}}'
        assert team.ask(CREATE, user=admin, body=body, Origin=origin)[0] == expected, origin


@pytest.mark.parametrize("path", ["config", "message", "%63onfig", ""])
def test_the_assistant_is_off(team: Team, path: str) -> None:
    """MLflow's shell tool answers not even the administrator on this machine."""
    for body in (None, "{}"):
        status, said = team.ask(f"/ajax-api/3.0/mlflow/assistant/{path}", user=f"admin:{PASSWORD}", body=body)
        assert (status, said) == (403, '{"detail": "The assistant is switched off."}')


def test_no_secret_is_in_sight(team: Team) -> None:
    """Not in the arguments of any process, not in what is printed, not in the home; the users are their owner's."""
    looked_at = 0
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        looked_at += "tracker-team" in words
        assert not [word for word in words if SECRET_KEY in word or PASSWORD in word]
    assert looked_at >= 1
    places = [team.said, *(path for path in team.home.root.rglob("*") if path.is_file())]
    assert team.home.server / "auth.db" in places
    for path in places:
        content = path.read_bytes()
        assert SECRET_KEY.encode() not in content and PASSWORD.encode() not in content, path
    for name in ("auth.db", "auth.ini"):
        assert stat.S_IMODE((team.home.server / name).stat().st_mode) == 0o600, name


def test_the_program_sees_it_as_this_homes_server(team: Team) -> None:
    """`status` tells of it, `start` finds it as it is and refuses to pass it off as another."""
    found = lifecycle.status(team.home)
    assert (found.running, found.uri, found.team, found.remark) == (True, team.uri, True, None)
    assert lifecycle.start(team.home).uri == team.uri
    with pytest.raises(TrackingError, match=r"already runs at .* with another --host, --team"):
        lifecycle.start(team.home, settings=lifecycle.Settings())


def test_it_fails_when_mlflow_dies(team: Team) -> None:
    """SIGKILL of the worker, after which MLflow itself says 0: exit code 1, so that it is started again."""
    record = read_record(team.home)
    assert record is not None and record.kept()
    (worker,) = psutil.Process(record.pid).children()
    worker.kill()
    assert team.process.wait(30) == 1
    assert "error: the MLflow server ended by itself" in team.said.read_text()
    assert record.members() == []
    assert read_record(team.home) is None
