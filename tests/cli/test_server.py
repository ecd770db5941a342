"""`tracker server` and `tracker ui` as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tracker.cli.main import cli
from tracker.study.errors import TrackingError, UsageError
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.tracking.writing import StudyTracking


def test_start_status_ui_stop(tmp_path: Path) -> None:
    """Two starts at once share one server; status and ui tell its address; stop ends it; nothing lands in the cwd."""
    home = tmp_path / "mlruns"
    here = tmp_path / "here"
    here.mkdir()
    start = [sys.executable, "-c", "from tracker.cli.server import server; server()", "start", "--home", str(home)]
    runner = CliRunner()
    try:
        both = [subprocess.Popen(start, cwd=here, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        first, second = (process.communicate(timeout=120)[0] for process in both)
        assert [process.returncode for process in both] == [0, 0]
        assert first == second
        assert list(here.iterdir()) == []
        uri = first.strip()

        status = runner.invoke(cli, ["server", "status", "--format", "json", "--home", str(home)])
        found = json.loads(status.stdout)
        assert (found["running"], found["uri"]) == (True, uri)
        assert found["database"] == str(home / "tracking.db")

        health = runner.invoke(cli, ["server", "health", "--home", str(home)])
        assert (health.exit_code, health.stdout) == (0, f"{uri}\n")
        logs = runner.invoke(cli, ["server", "logs", "-n", "1", "--home", str(home)])
        assert logs.stdout.endswith(f"Uvicorn running on {uri} (Press CTRL+C to quit)\n")
        other = runner.invoke(cli, ["server", "start", "--allowed-hosts", "a.example", "--home", str(home)])
        assert isinstance(other.exception, TrackingError)
        assert "already runs" in other.exception.message

        empty = runner.invoke(cli, ["ui", "--no-open", "--home", str(home)])
        assert (empty.exit_code, empty.stdout) == (0, f"{uri}\n")
        document = {
            "name": "seen",
            "question": "Is it shown?",
            "recipe": {"model": "resnet18", "dataset": "digits"},
            "axes": {"normalization": ["pretrain", "minmax"]},
        }
        StudyTracking(uri, Home(home), parse_study(document, file="seen.yaml")).open()
        shown = runner.invoke(cli, ["ui", "--no-open", "--home", str(home)])
        assert shown.stdout.startswith(f"{uri}/#/experiments/1/runs?workflowType=machine_learning")
        assert "tracker server stop" in shown.stderr
    finally:
        stopped = runner.invoke(cli, ["server", "stop", "--home", str(home)])
    assert stopped.stderr == "stopped\n"
    again = runner.invoke(cli, ["server", "stop", "--home", str(home)])
    assert (again.exit_code, again.stderr) == (0, "no server was running\n")
    status = runner.invoke(cli, ["server", "status", "--home", str(home)])
    assert status.stdout.startswith("not running\n")


def test_status_of_an_empty_home_writes_nothing(tmp_path: Path) -> None:
    """Looking is free of effects."""
    status = CliRunner().invoke(cli, ["server", "status", "--home", str(tmp_path / "mlruns")])
    assert (status.exit_code, status.stdout.splitlines()[0]) == (0, "not running")
    assert list(tmp_path.iterdir()) == []


def test_logs_and_health_of_an_empty_home(tmp_path: Path) -> None:
    """What there is not is said, with the command that makes it; `health` waits only as long as asked."""
    home = ["--home", str(tmp_path / "mlruns")]
    runner = CliRunner()
    logs = runner.invoke(cli, ["server", "logs", *home])
    assert isinstance(logs.exception, TrackingError)
    assert "has printed anything yet" in logs.exception.message
    health = runner.invoke(cli, ["server", "health", "--wait", "0.3", *home])
    assert (health.exit_code, health.stdout, health.stderr) == (1, "", "no server is running\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["start", "run"])
def test_lists_are_split_at_commas(tmp_path: Path, command: str) -> None:
    """Blanks around a name do no harm, and each is looked at; nothing is started for a wrong one."""
    arguments = ["server", command, "--allowed-hosts", "a.example, *", "--home", str(tmp_path / "mlruns")]
    done = CliRunner().invoke(cli, arguments)
    assert isinstance(done.exception, UsageError)
    assert "--allowed-hosts *: not a name" in done.exception.message
    assert list(tmp_path.iterdir()) == []
