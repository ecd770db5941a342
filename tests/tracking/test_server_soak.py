"""Servers through what months bring: a team on PostgreSQL, deaths, hangs, neighbours on the same port."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from mlflow.exceptions import MlflowException
from sqlalchemy import create_engine

from benchmarks.postgresql import lacking, temporary_server
from tracker.study.home import Home
from tracker.tracking.client import connect
from tracker.tracking.reading import read_runs
from tracker.tracking.server import lifecycle, logs, session
from tracker.tracking.server.ports import usual_port
from tracker.tracking.server.record import Record, read_record
from tracker.tracking.server.settings import Settings

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
TRACKER = [sys.executable, "-m", "tracker"]
KEY = "the-key-of-this-test-only"
ADMIN = "the admin's word"
ALICE, BOB = "alice's own word", "bob's own word"
WORD = "s3cret@of:the/database"
TINY = [
    *("sweep", "--study", "quickstart", "--set", "name=tiny", "--set", "recipe.source=random"),
    *(
        "--set",
        "recipe.epochs=1",
        "--set",
        "baseline=minmax",
        "--axis",
        "tune=head",
        "--axis",
        "normalization=minmax,instance",
    ),
    *("--axis", "seed=1", "--limit-train", "64", "--limit-test", "32", "--device", "cpu", "--workers", "1"),
]


def environment(home: Home, **more: str) -> dict[str, str]:
    """This process's, without what would point elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "TRACKER", "PG"))}
    return {**kept, "TRACKER_HOME": str(home.root), **more}


def family(home: Home) -> list[psutil.Process]:
    """The processes of a home's server."""
    record = read_record(home)
    assert record is not None
    return record.members()


@pytest.fixture
def ended(home: Home) -> Iterator[Home]:
    """A home whose server ends with the test."""
    yield home
    lifecycle.stop(home)


def test_a_team_on_postgresql_with_a_password(tmp_path: Path) -> None:
    """The whole of it as separate programs: a user's sweep arrives, one with a wrong password is told the cure, another
    user reads it and changes nothing, and the secrets are in no argument, no output and no file."""
    if reason := lacking():
        pytest.skip(reason)
    home, elsewhere = Home(tmp_path / "server"), Home(tmp_path / "user")
    with temporary_server(durable=False) as url:
        folder = Path(url.rpartition("=")[2])
        (folder / "data" / "pg_hba.conf").write_text("local all member scram-sha-256\nlocal all all trust\n")
        engine = create_engine(url.format(database="postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT pg_reload_conf()")
            connection.exec_driver_sql(f"CREATE ROLE member LOGIN PASSWORD '{WORD}'")
            connection.exec_driver_sql("CREATE DATABASE runs OWNER member")
        engine.dispose()
        quoted = WORD.replace("@", "%40").replace(":", "%3A").replace("/", "%2F")
        (tmp_path / "uri").write_text(url.format(database="runs").replace("tracker@", f"member:{quoted}@") + "\n")
        (tmp_path / "admin").write_text(ADMIN)
        (tmp_path / "alice").write_text(ALICE)
        secrets = {
            "MLFLOW_BACKEND_STORE_URI_FILE": str(tmp_path / "uri"),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": KEY,
            "MLFLOW_AUTH_ADMIN_PASSWORD_FILE": str(tmp_path / "admin"),
        }
        said = tmp_path / "stderr"
        with (
            said.open("w") as errors,
            subprocess.Popen(
                [*TRACKER, "server", "run", "--team"],
                cwd=ROOT,
                env=environment(home, **secrets),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            ) as server,
        ):
            try:
                assert server.stdout is not None
                uri = server.stdout.readline().strip()
                assert uri, said.read_text()
                arguments = [word for process in psutil.process_iter() for word in _arguments(process)]
                _add_user(uri, "alice", ALICE)
                _add_user(uri, "bob", BOB)
                user = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_TRACKING_USERNAME": "alice"}
                refused = _run(TINY, environment(elsewhere, **user, MLFLOW_TRACKING_PASSWORD="wrong"))  # noqa: S106
                assert refused.returncode == 1
                assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in refused.stderr
                good = environment(elsewhere, **user, MLFLOW_TRACKING_PASSWORD_FILE=str(tmp_path / "alice"))
                swept = _run(TINY, good)
                assert swept.returncode == 0, swept.stderr
                shown = _run(["compare", "--study", "tiny", "--format", "json"], good)
                assert shown.returncode == 0, shown.stderr
                ui = _run(["ui", "--no-open"], environment(home))
                assert (ui.returncode, ui.stdout) == (0, f"{uri}\n"), ui.stderr
                assert "asks for a user and a password" in ui.stderr
                with _logged_in("bob", BOB):
                    runs = read_runs(uri, "tiny")
                    with pytest.raises(MlflowException, match="Permission denied"):
                        connect(uri).set_tag(runs[0].run_id, "mine", "now")
                assert [run.status for run in runs] == ["FINISHED"] * 2
                assert not home.tracking_db.exists()
                assert not (home.server / "auth.db").exists()
            finally:
                server.terminate()
            assert server.wait(30) == 0
    texts = [said.read_text(), refused.stderr, swept.stderr, swept.stdout, ui.stderr, *arguments]
    texts += [
        path.read_bytes().decode("latin-1") for path in home.root.rglob("*") if path.is_file() and path.name != "uri"
    ]
    for secret in (KEY, ADMIN, ALICE, WORD, quoted):
        assert not [text[:200] for text in texts if secret in text]


def _add_user(uri: str, name: str, password: str) -> None:
    """Add a user as docs/server.md tells it."""
    page = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```text\n(from getpass.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    program = program.replace("http://mlflow.example.org:5000", uri).replace("alice", name)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": ADMIN},
        input=password + "\n",
        start_new_session=True,  # without a terminal the password is read from stdin
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def _logged_in(user: str, password: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_USERNAME", user)
        patch.setenv("MLFLOW_TRACKING_PASSWORD", password)
        yield


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _run(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TRACKER, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_two_homes_started_at_once_share_no_port(tmp_path: Path) -> None:
    """Two that would take the same port, at the same moment: each gets one, and each finds its own again."""
    first = Home(tmp_path / "0")
    second = next(
        home for number in range(1, 100_000) if usual_port(home := Home(tmp_path / str(number))) == usual_port(first)
    )
    homes = (first, second)
    try:
        starting = [
            subprocess.Popen(
                [*TRACKER, "server", "start"], cwd=ROOT, env=environment(home), stdout=subprocess.PIPE, text=True
            )
            for home in homes
        ]
        uris = [process.communicate(timeout=200)[0].strip() for process in starting]
        assert [process.returncode for process in starting] == [0, 0]
        assert len(set(uris)) == 2
        assert [lifecycle.status(home).uri for home in homes] == uris
        assert lifecycle.stop(first) is True
        assert lifecycle.status(second).running
        assert lifecycle.start(first).uri == uris[0]
    finally:
        for home in homes:
            lifecycle.stop(home)


def test_a_server_comes_back_as_it_was(ended: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """After SIGKILL of all of it a worker's revival has the same address, names and password; without the
    secrets it is refused rather than opened."""
    monkeypatch.setenv("MLFLOW_FLASK_SERVER_SECRET_KEY", KEY)
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", ADMIN)
    settings = Settings(allowed_hosts=("mlflow.example.org",), cors_origins=("https://a.example",), team=True)
    started = lifecycle.start(ended, settings=settings)
    assert started.uri is not None
    members = family(ended)
    for process in members:
        process.kill()
    psutil.wait_procs(members, timeout=20)
    with monkeypatch.context() as without:
        without.delenv("MLFLOW_AUTH_ADMIN_PASSWORD")
        assert session.revive(ended, started.uri) is False
        assert not lifecycle.status(ended).running
    assert session.revive(ended, started.uri) is True
    record = read_record(ended)
    assert isinstance(record, Record)
    assert (record.settings, record.uri, record.lasting) == (settings, started.uri, True)


def test_a_hanging_server_is_recognised_and_ended(ended: Home) -> None:
    """Stopped in its tracks it is alive and does not answer; `stop` ends it all the same."""
    lifecycle.start(ended)
    for process in family(ended):
        process.suspend()
    remark = lifecycle.status(ended).remark
    assert remark is not None and "it does not answer" in remark
    assert lifecycle.stop(ended) is True
    assert not lifecycle.status(ended).running


def test_a_log_is_turned_over_while_the_server_runs(ended: Home) -> None:
    """The server itself begins a new file, and goes on in it; what was there is in the older one."""
    uri = lifecycle.start(ended).uri
    assert uri is not None
    path = logs.log_path(ended)
    with path.open("a", encoding="utf-8") as file:
        file.write("filled up\n" * (logs.LARGEST // 10 + 1))
    deadline = time.monotonic() + 4 * logs.WATCH_SECONDS
    while path.stat().st_size > logs.LARGEST:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert "Uvicorn running on" in path.with_name("server.log.1").read_text()
    request = urllib.request.Request(f"{uri}/", headers={"Host": "evil.example"})  # noqa: S310 (http)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)  # noqa: S310
    caught.value.close()
    assert "Rejected request with invalid Host header: evil.example" in logs.last_lines(ended, 1)[0]
    assert path.stat().st_size < 1000


def test_a_foreground_server_ends_when_asked(ended: Home) -> None:
    """SIGTERM, Ctrl-C and `tracker server stop` end it in seconds with 0; a second one of the home is refused."""
    for way in (signal.SIGTERM, signal.SIGINT, None):
        with subprocess.Popen(
            [*TRACKER, "server", "run"],
            cwd=ROOT,
            env=environment(ended),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as server:
            assert server.stdout is not None
            assert server.stdout.readline().startswith("http://127.0.0.1:")
            members = family(ended)
            if way is None:
                second = _run(["server", "run"], environment(ended))
                assert second.returncode == 1
                assert "already runs at" in second.stderr
            began = time.monotonic()
            if way is None:
                assert lifecycle.stop(ended) is True
            else:
                server.send_signal(way)
            assert server.wait(20) == 0
            assert time.monotonic() - began < 15
            assert not [process for process in members if process.is_running()]
            assert read_record(ended) is None
            server.communicate()
