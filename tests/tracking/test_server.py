"""The local server: started once, found again, never confused with another, ended with all it is made of."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.tracking.client import connect
from tracker.tracking.server import addresses, lifecycle, session
from tracker.tracking.server.ports import choose_port, usual_port
from tracker.tracking.server.record import Record, read_record, record_path, write_record


@pytest.fixture
def sleeper() -> psutil.Process:
    """A living process that is no MLflow server."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as child:
        yield psutil.Process(child.pid)
        child.kill()


def test_the_running_server_is_found_and_not_started_twice(served_home: Home, uri: str) -> None:
    """`start` on a home whose server runs gives back that server."""
    again = lifecycle.start(served_home)
    assert again.uri == uri
    assert again.pid == lifecycle.status(served_home).pid
    with pytest.raises(TrackingError, match="already runs at"):
        lifecycle.start(served_home, port=1)


def test_the_database_is_in_wal_mode(served_home: Home, uri: str) -> None:
    """WAL is set once and stays with the file; it lets readers and the server work side by side."""
    with closing(sqlite3.connect(served_home.tracking_db)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_two_processes_are_enough(served_home: Home, uri: str) -> None:
    """One worker, no job executor: memory that a laptop can spare."""
    record = read_record(served_home)
    assert record is not None
    assert len(record.members()) == 2


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("experiments/search?max_results=1", {}, 200),
        ("experiments/search?max_results=1", {"Host": "localhost:8080"}, 200),
        ("experiments/search?max_results=1", {"Host": "evil.example"}, 403),
        ("experiments/search?max_results=1", {"Host": "10.evil.example"}, 403),
        ("experiments/create", {"Origin": "https://evil.example"}, 403),
        ("experiments/create", {"Origin": "null"}, 403),
    ],
)
def test_foreign_names_and_origins_are_refused(uri: str, path: str, headers: dict[str, str], expected: int) -> None:
    """A web page in the user's browser reaches neither by a name of its own (DNS rebinding) nor across origins."""
    body = b'{"name": "by a stranger"}' if path.endswith("create") else None
    kind = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{uri}/api/2.0/mlflow/{path}", body, kind | headers)  # noqa: S310 (http)
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            assert answer.status == expected
    except urllib.error.HTTPError as error:
        with error:
            assert error.code == expected
    assert connect(uri).get_experiment_by_name("by a stranger") is None


@pytest.mark.parametrize("path", ["config", "message", "sessions/1/stop"])
def test_the_assistant_is_off(uri: str, path: str) -> None:
    """MLflow's chat assistant, a shell for whoever comes from this machine, is not served."""
    address = f"{uri}/ajax-api/3.0/mlflow/assistant/{path}"
    for body in (None, b"{}"):
        with pytest.raises(urllib.error.HTTPError, match="403") as caught:
            urllib.request.urlopen(address, body)  # noqa: S310 (http)
        with caught.value as answer:
            assert b"switched off" in answer.read()


def test_health_is_asked_without_mlflow(served_home: Home, uri: str) -> None:
    """`tracker server health`: the address and 0, or 1; fast, since containers ask every few seconds."""
    script = (
        "import sys; from tracker.cli.main import main; import atexit\n"
        "atexit.register(lambda: print(sorted({'mlflow', 'torch', 'sqlalchemy', 'psutil'} & sys.modules.keys())))\n"
        "main()"
    )
    command = [sys.executable, "-c", script, "server", "health"]
    done = subprocess.run([*command, "--home", str(served_home.root)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{uri}\n['psutil']\n"
    gone = subprocess.run([*command, "--uri", "http://127.0.0.1:9"], capture_output=True, text=True, check=False)
    assert (gone.returncode, gone.stderr) == (1, "no answer from http://127.0.0.1:9\n")


def test_a_session_uses_a_server_that_stays(served_home: Home, uri: str) -> None:
    """A session that did not start the server does not end it."""
    with session.tracking_session(served_home) as found:
        assert found == uri
    assert lifecycle.status(served_home).running


def test_a_session_of_its_own_ends_with_the_last_user_also_on_errors(home: Home) -> None:
    """A server that a session started ends when nobody uses it any more, however the session ends."""
    told: list[str] = []
    with session.tracking_session(home, told.append) as outer:
        pid = lifecycle.status(home).pid
        with pytest.raises(KeyboardInterrupt), session.tracking_session(home, told.append) as inner:
            assert inner == outer
            raise KeyboardInterrupt
        assert lifecycle.status(home).pid == pid, "the outer session still uses it"
        connect(outer).search_experiments()
    assert told == ["starting the local MLflow server"]
    assert lifecycle.status(home) == replace(lifecycle.status(home), running=False, uri=None, pid=None, started_at=None)
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert not record_path(home).exists()
    assert addresses.reading_uri(home) == addresses.database_uri(home), "the file can be read without a server"
    assert connect(addresses.reading_uri(home)).get_experiment_by_name("Default") is not None


def test_only_the_own_server_is_revived(
    served_home: Home, home: Home, uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a foreign address it is only said whether it answers; one that a stranger has taken is not had back."""
    assert session.revive(served_home, uri) is True
    assert session.revive(home, uri) is True
    assert session.revive(home, "http://127.0.0.1:9") is False
    assert not home.server.exists()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        dead = Record(pid=2**22 + 1, created=1.0, port=stranger.getsockname()[1], version="3", lasting=True)
        home.make(home.server)
        write_record(home, dead)
        assert session.revive(home, dead.uri) is False
    assert "does not come back" in caplog.text


def test_stop_is_idempotent(home: Home) -> None:
    """Stopping what does not run is no error."""
    assert lifecycle.stop(home) is False
    assert lifecycle.stop(home) is False


def test_a_dead_pid_is_not_a_running_server(home: Home) -> None:
    """A record whose process is gone says nothing."""
    write_record(home, Record(pid=2**22 + 1, created=1.0, port=5000, version="3", lasting=True))
    assert not lifecycle.status(home).running
    assert lifecycle.stop(home) is False
    assert read_record(home) is None


def test_a_recycled_pid_is_left_alone(home: Home, sleeper: psutil.Process) -> None:
    """A stranger that got the recorded pid is neither taken for the server nor ended."""
    write_record(home, Record(sleeper.pid, sleeper.create_time() - 100, port=5000, version="3", lasting=True))
    assert not lifecycle.status(home).running
    assert lifecycle.stop(home) is False
    assert sleeper.is_running()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "more": 2}'])
def test_a_damaged_record_counts_as_none(home: Home, content: str) -> None:
    """A record that cannot be read is as good as none."""
    home.make(home.server)
    record_path(home).write_text(content)
    assert read_record(home) is None
    assert not lifecycle.status(home).running


def test_workers_that_outlive_the_server_are_ended(home: Home) -> None:
    """When the parent alone is killed, its worker would hold the port and the database for ever."""
    family = "exec -a mlflow-worker sleep 60 & exec -a mlflow-parent sleep 60"
    with subprocess.Popen(["bash", "-c", family], start_new_session=True) as parent:
        record = Record(parent.pid, psutil.Process(parent.pid).create_time(), port=1, version="3", lasting=True)
        write_record(home, record)
        deadline = time.monotonic() + 10
        while len(record.members()) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        parent.kill()
    assert not lifecycle.status(home).running
    assert len(record.members()) == 1
    assert lifecycle.stop(home) is True
    assert record.members() == []


def test_a_taken_port_is_named_when_asked_for_and_avoided_otherwise() -> None:
    """`--port` of a port in use fails at once; without it another is found."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(TrackingError, match=f"port {port} of 127.0.0.1 is taken"):
            choose_port(port, None, 5000)
        assert choose_port(None, port, 5000) != port
    assert choose_port(None, port, 5000) == port, "a restarted server gets its old port back"


def test_a_server_that_dies_is_quoted(home: Home) -> None:
    """A database that is none: the error carries the log's words, and nothing stays behind."""
    home.make(home.root)
    home.tracking_db.write_text("this is no database " * 100)
    with pytest.raises(TrackingError, match="not a database"):
        lifecycle.start(home)
    assert not lifecycle.status(home).running


def test_nothing_is_left_in_the_current_folder(served_home: Home, uri: str, tmp_path: Path) -> None:
    """Reading the SQLite file, and logging to a server, write nothing where the command happens to run."""
    script = (
        "import json; from pathlib import Path; from tracker.study.home import Home\n"
        "from tracker.tracking import reading, run\n"
        "from tracker.tracking.server import addresses, session\n"
        f"home = Home(Path({str(served_home.root)!r}))\n"
        "with session.tracking_session(home) as uri:\n"
        "    opened = run.open_run(uri, home, 'elsewhere', 'a run', 'elsewhere-1')\n"
        "    opened.log_file(Path(json.__file__))\n"
        "    assert opened.finish('FINISHED')\n"
        "print(json.dumps([study.name for study in reading.studies(addresses.database_uri(home)) if not study.name]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == []
    assert list(tmp_path.iterdir()) == []


def test_each_home_has_a_port_of_its_own() -> None:
    """A worker whose server died does not find another home's at its address; one home keeps its address."""
    ports = [usual_port(Home(Path("/homes") / str(number))) for number in range(50)]
    assert all(5000 <= port < 6000 for port in ports)
    assert len(set(ports)) > 40
    assert ports == [usual_port(Home(Path("/homes") / str(number))) for number in range(50)]
