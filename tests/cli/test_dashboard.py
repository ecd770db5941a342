"""`tracker dashboard` as a user runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.sweep.conftest import IN_FOREGROUND, environment
from tracker.cli.main import cli
from tracker.ledger.ledger import Ledger
from tracker.study.errors import UsageError
from tracker.study.home import Home
from tracker.study.load import parse_study


@pytest.fixture
def enrolled(home: Home) -> Home:
    """A home whose trial database has a study."""
    document = {
        "name": "seen",
        "question": "Can it be seen?",
        "recipe": {"model": "resnet18", "dataset": "digits"},
        "axes": {"normalization": ["pretrain", "minmax"], "seed": [1]},
    }
    home.make(home.root)
    with Ledger.local(home) as ledger:
        ledger.enroll(parse_study(document, file="seen.yaml"))
    return home


def test_it_prints_an_address_and_ends_with_ctrl_c(enrolled: Home) -> None:
    """The address of the study that was active last, on 127.0.0.1; it answers until Ctrl-C, which is no error."""
    process = subprocess.Popen(
        [sys.executable, "-c", IN_FOREGROUND, "dashboard", "--port", "0", "--no-open"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(enrolled.root) | {"PYTHONPATH": str(Path.cwd())},
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        assert address.endswith("/dashboard/studies/1")
        with urllib.request.urlopen(address, timeout=20) as page:  # noqa: S310 (our own address)
            assert b"Optuna" in page.read()
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "Ctrl-C ends it\nended\n")


def test_without_a_trial_database_it_says_how_to_make_one(tmp_path: Path) -> None:
    """Nothing is created by looking."""
    with pytest.raises(UsageError, match=r"trials\.db is not there yet"):
        CliRunner().invoke(cli, ["dashboard", "--home", str(tmp_path / "none")], catch_exceptions=False)
    assert not (tmp_path / "none").exists()


def test_a_study_that_is_not_there_lists_those_that_are(enrolled: Home) -> None:
    """Before anything listens."""
    with pytest.raises(UsageError, match="no study 'other'") as caught:
        CliRunner().invoke(cli, ["dashboard", "--study", "other", "--home", str(enrolled.root)], catch_exceptions=False)
    assert caught.value.cure == "studies there: seen"


def test_a_password_is_no_argument() -> None:
    """It would be in the process list: a URL with one is refused, as everywhere."""
    done = CliRunner().invoke(cli, ["dashboard", "--storage", "postgresql+psycopg://me:secret@h/d"])
    assert done.exit_code == 2
    assert "secret" not in done.output


def test_another_address_is_warned_of(enrolled: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no password: whoever listens elsewhere is told so."""
    monkeypatch.setattr("tracker.ledger.dashboard.Dashboard.serve", lambda self: self._server.server_close())
    arguments = ["dashboard", "--host", "0.0.0.0", "--port", "0", "--no-open", "--home", str(enrolled.root)]  # noqa: S104
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "there is no password" in done.stderr
    assert "proxy" in done.stderr
