"""`tracker server` and `tracker ui` as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from tracker.cli.main import cli
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
