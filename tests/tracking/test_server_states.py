"""What is said of servers that died, hang, are another's or another machine's. No server runs here."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.tracking.server import addresses, lifecycle, record
from tracker.tracking.server.ports import choose_port, holder
from tracker.tracking.server.record import Record, hold, read_record, record_path, write_record
from tracker.tracking.server.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def sleeper() -> Iterator[psutil.Process]:
    """A process of its own group that could be an MLflow server, and does not answer."""
    command = ["bash", "-c", "exec -a mlflow-server sleep 60"]
    with subprocess.Popen(command, start_new_session=True) as child:
        process = psutil.Process(child.pid)
        while "mlflow-server" not in process.cmdline():
            time.sleep(0.01)
        yield process
        child.kill()


def record_of(process: psutil.Process, **fields: object) -> Record:
    """What would be written down of a process."""
    found = Record(process.pid, process.create_time(), port=9, version="3", lasting=True)
    return replace(found, **{"machine": socket.gethostname(), **fields})


def test_a_record_of_before_is_still_read(home: Home) -> None:
    """A server that an earlier release started is found, and stopped, by this one."""
    home.make(home.server)
    record_path(home).write_text('{"pid": 1, "created": 1.0, "port": 5001, "version": "3.17.2", "lasting": true}')
    found = read_record(home)
    assert found is not None and found.uri == "http://127.0.0.1:5001" and not found.elsewhere


def test_a_record_keeps_the_settings(home: Home) -> None:
    """A server that is brought back is the same, at an address this machine reaches."""
    settings = Settings("0.0.0.0", ("a", "b:1"), ("https://c",), team=True)  # noqa: S104 (nothing listens)
    written = Record(1, 1.0, 5001, "3", True, settings, "postgresql://h/d", "here", 7)
    write_record(home, written)
    assert read_record(home) == written
    assert written.uri == "http://127.0.0.1:5001"
    assert replace(written, settings=Settings("::1")).uri == "http://[::1]:5001"


def test_a_server_that_does_not_answer_is_told_from_one_that_does(home: Home, sleeper: psutil.Process) -> None:
    """Alive and silent is a state of its own, with what to do; so is dead, dead with a worker left, another version."""
    write_record(home, record_of(sleeper))
    status = lifecycle.status(home)
    assert status.running and status.remark is not None and "it does not answer" in status.remark
    assert status.cure is not None and "tracker server stop" in status.cure
    write_record(home, record_of(sleeper, created=sleeper.create_time() - 100))
    assert "left a worker behind" in str(lifecycle.status(home).remark)
    sleeper.kill()
    sleeper.wait()
    dead = lifecycle.status(home)
    assert not dead.running and "died without being stopped" in str(dead.remark)


def test_a_server_of_another_machine_is_left_alone(
    home: Home, sleeper: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pid means nothing here: it is neither found, nor ended, nor replaced while it holds the home."""
    write_record(home, record_of(sleeper, machine="other-host"))
    monkeypatch.setattr(record, "LETTING_GO_SECONDS", 0.2)
    status = lifecycle.status(home)
    assert not status.running and "started on other-host" in str(status.remark)
    assert "MLFLOW_TRACKING_URI=http://other-host:9" in str(status.cure)
    script = "import sys; from pathlib import Path; from tracker.study.home import Home\n"
    script += "from tracker.tracking.server.record import hold\n"
    script += f"hold(Home(Path({str(home.root)!r})), None); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(TrackingError, match="already runs on other-host"):
            lifecycle.start(home)
        other.kill()
    assert sleeper.is_running()
    descriptor = hold(home, None)
    assert descriptor is not None, "the kernel lets go of a lock whose holder was killed"
    os.close(descriptor)


def test_a_server_does_not_come_back_with_other_runs(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that had its runs in PostgreSQL is not brought back on SQLite, nor is SQLite read for it."""
    write_record(home, Record(2**22 + 1, 1.0, 5000, "3", True, storage="postgresql://u@h/d"))
    with pytest.raises(TrackingError, match="kept its runs in postgresql://u@h/d, and the next would in the home's"):
        lifecycle.start(home)
    for read in (addresses.reading_uri, addresses.bulk_reading_uri):
        with pytest.raises(TrackingError, match="are in postgresql://u@h/d, and its server does not run"):
            read(home)
    lifecycle.stop(home)
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "postgresql://u:word@h/d")
    with pytest.raises(TrackingError, match="are in postgresql://u@h/d") as caught:
        addresses.reading_uri(home)
    assert "word" not in str(caught.value)


def test_who_has_a_port_is_named(tmp_path: Path) -> None:
    """This very program by name and pid; another home's server with its home."""
    other = Home(tmp_path / "other")
    listen = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)\n"
    listen += "sys.stdin.read()"
    write_record(other, Record(1, 1.0, 1, "3", True))
    for folder, words in ((tmp_path, "python"), (other.server, f"the tracker server of {other.root}")):
        with subprocess.Popen([sys.executable, "-c", listen], cwd=folder, stdin=-1, stdout=-1, text=True) as stranger:
            assert stranger.stdout is not None
            port = int(stranger.stdout.readline())
            with pytest.raises(TrackingError, match=f"port {port} of 127.0.0.1 is taken by {words}") as caught:
                choose_port(port, None, 5000)
            assert f"(pid {stranger.pid})" in caught.value.message
            stranger.kill()
    assert holder(port) == "another program"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can get into; pytest's own cannot be reached by them."""
    with tempfile.TemporaryDirectory(prefix="tracker-test-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_another_users_server_is_named_and_left_alone(open_folder: Path, sleeper: psutil.Process) -> None:
    """Who may neither see nor signal it is told whose it is, and to take a home of their own."""
    home, closed = Home(open_folder / "mlruns"), Home(open_folder / "closed")
    write_record(home, record_of(sleeper))
    write_record(closed, record_of(sleeper))
    closed.root.chmod(0o700)
    script = f"""
import os, socket
from pathlib import Path
from tracker.study.errors import TrackerError
from tracker.study.home import Home
from tracker.tracking.server import lifecycle, process
from tracker.tracking.server.ports import holder
from tracker.tracking.server.record import read_record
"what this user could not import any more".encode("idna")
os.setgid(65534), os.setuid(65534)
home, closed = Home(Path({str(home.root)!r})), Home(Path({str(closed.root)!r}))
print(holder({{port}}))
print(lifecycle.status(home).running)
for attempt in (lambda: process.terminate(read_record(home)), lambda: lifecycle.stop(home),
                lambda: lifecycle.status(closed), lambda: lifecycle.start(closed)):
    try:
        attempt()
        print("no error")
    except TrackerError as error:
        print(error.message)
"""
    with socket.create_server(("127.0.0.1", 0)) as ours:
        program = script.replace("{port}", str(ours.getsockname()[1]))
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[:2] == ["a program of user root", "True"]
    assert (
        lines[2] == f"the server at http://127.0.0.1:9 (pid {sleeper.pid}) belongs to root, and cannot be ended by you"
    )
    assert lines[3] == f"{home.root}: no permission; it belongs to another user"
    assert lines[4] == f"{closed.root}: no permission; it belongs to another user"
    assert lines[5] == f"{closed.server}: cannot be created: Permission denied"
    assert sleeper.is_running()


def test_the_page_quotes_what_status_says() -> None:
    """Each remark in the table of docs/server.md is in the code, word by word."""
    page = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    code = (ROOT / "tracker" / "tracking" / "server" / "lifecycle.py").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \|", page.partition("| it says |")[2].partition("\n\n")[0], flags=re.MULTILINE)
    assert len(rows) == 6
    for row in rows:
        for words in re.split(r"\.\.\.|3\.17\.2", row):
            assert words.strip(" ,()") in code, (row, words)
