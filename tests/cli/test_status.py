"""`tracker status`: what it says of studies and cells, and where it says it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.prepared_store import with_ledger
from tracker.cli.main import cli
from tracker.ledger.ledger import Ledger
from tracker.study.errors import UsageError
from tracker.study.failures import Failure
from tracker.study.home import Home
from tracker.study.load import load_study, parse_study

DOCUMENT = {
    "name": "small",
    "question": "Which?",
    "recipe": {"model": "resnet18", "dataset": "digits", "source": "random"},
    "axes": {"normalization": ["pretrain", "finetune", "instance", "minmax"], "seed": [1, 2]},
}


def run(home: Home, *arguments: str) -> Result:
    """Run the command; its errors come out as exceptions."""
    return CliRunner().invoke(cli, ["status", *arguments, "--home", str(home.root)], catch_exceptions=False)


@pytest.fixture
def busy(home: Home) -> Home:
    """A home with one study: a cell done, one failed, one cancelled, one running, four waiting."""
    with Ledger.local(with_ledger(home), lease_seconds=600) as ledger:
        leases = ledger.leases
        ledger.enroll(parse_study(DOCUMENT, file="small.yaml"))
        done, failed = leases.claim("small", "host-1"), leases.claim("small", "host-1")
        assert done is not None and failed is not None
        leases.complete(done, {"best_acc": 0.8765, "last_acc": 0.5}, "a-run", 1.0)
        leases.fail(failed, Failure("not-finite", "NotFinite", "loss is [red]not finite[/red]\nsecond line"))
        running = leases.claim("small", "host-3")
        assert running is not None
        leases.renew(running, last_epoch=41)
        ledger.cancel("small", [ledger.rows("small")[3].cell_id])
    return home


@pytest.mark.parametrize("arguments", [(), ("--study", "quickstart")])
def test_nothing_run_yet_is_said_with_the_command_that_runs(home: Home, arguments: tuple[str, ...]) -> None:
    """Before the first sweep there is no error, no file is made, and the way to begin is shown on stderr."""
    result = run(home, *arguments)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "tracker sweep --study quickstart" in result.stderr
    assert not home.root.exists()


def test_nothing_run_yet_is_an_empty_list_in_json(home: Home) -> None:
    """A program reads an empty list, not a message."""
    assert json.loads(run(home, "--format", "json").stdout) == {"studies": []}
    assert json.loads(run(home, "--study", "quickstart", "--format", "json").stdout) == {
        "study": "quickstart",
        "counts": {},
        "cells": [],
    }


def test_studies_are_listed_with_their_counts(busy: Home) -> None:
    """One line a study: cells in all, and how many are done, running, lost, failed, cancelled and waiting."""
    result = run(busy)
    (line,) = [line for line in result.stdout.splitlines() if "small" in line]
    assert line.split()[:8] == ["small", "8", "1", "1", "–", "1", "1", "4"]
    (study,) = json.loads(run(busy, "--format", "json").stdout)["studies"]
    counts = {key: study[key] for key in ("cells", "complete", "running", "lost", "failed", "cancelled", "waiting")}
    assert counts == {"cells": 8, "complete": 1, "running": 1, "lost": 0, "failed": 1, "cancelled": 1, "waiting": 4}
    assert study["last_activity"].endswith("+00:00")


def test_every_cell_of_a_study_is_shown(busy: Home) -> None:
    """State, best accuracy, attempts, worker and failure of each cell, in the order of the grid."""
    result = run(busy, "--study", "small")
    lines = [line for line in result.stdout.splitlines() if "resnet18/" in line]
    assert len(lines) == 8
    assert lines[0].split()[:7] == ["resnet18/digits/pretrain/seed=1", "done", "100/100", "87.65", "%", "1", "host-1"]
    assert "failed" in lines[1] and "not-finite: loss is [red]not finite[/red]" in lines[1]
    assert "second line" not in result.stdout
    assert [line.split()[1:3] for line in lines[2:5]] == [
        ["running", "42/100"],
        ["cancelled", "0/100"],
        ["waiting", "0/100"],
    ]
    assert result.stderr == "small: 8 cells: 1 done, 1 running, 1 failed, 1 cancelled, 4 waiting\n"


def test_a_lost_cell_is_taken_back(home: Home) -> None:
    """Its worker is silent for longer than its lease: it waits again, and that is said."""
    with Ledger.local(home, lease_seconds=0.05) as ledger:
        ledger.enroll(parse_study(DOCUMENT, file="small.yaml"))
        assert ledger.leases.claim("small", "host-2") is not None
    time.sleep(0.06)
    result = run(home, "--study", "small")
    assert "mended: resnet18/digits/pretrain/seed=1: its worker host-2 is gone; it waits again" in result.stderr
    assert "8 waiting" in result.stderr


def test_a_paused_study_is_said_to_be(busy: Home) -> None:
    """With who paused it, and how it goes on."""
    with Ledger.local(busy) as ledger:
        ledger.pause("small", "by ann on earth")
    for arguments in ((), ("--study", "small")):
        assert "small is paused by ann on earth: tracker sweep --study small --resume" in run(busy, *arguments).stderr


def test_json_of_a_study_is_complete_and_alone(busy: Home) -> None:
    """JSON has every cell's id, point, status, metrics and times, and nothing else is on stdout."""
    result = run(busy, "--study", "small", "--format", "json")
    document = json.loads(result.stdout)
    assert result.stderr == ""
    assert [cell["status"] for cell in document["cells"]] == [
        "done",
        "failed",
        "running",
        "cancelled",
        *["waiting"] * 4,
    ]
    first = document["cells"][0]
    assert first["cell_id"] == parse_study(DOCUMENT, file="small.yaml").cells[0].id
    assert first["point"] == {"normalization": "pretrain", "seed": 1}
    assert first["metrics"] == {"best_acc": 0.8765, "last_acc": 0.5}
    assert first["finished"].endswith("+00:00")
    assert document["counts"]["cells"] == 8


def test_a_study_can_be_named_by_its_file(home: Home, tmp_path: Path) -> None:
    """A path is read for the study's name; one without rows has not been run yet."""
    file = tmp_path / "named.yaml"
    text = {key: value for key, value in DOCUMENT.items() if key != "name"}
    file.write_text(json.dumps(text))
    assert "study named has not been run here yet" in run(home, "--study", str(file)).stderr
    with Ledger.local(home) as ledger:
        ledger.enroll(load_study(str(file)))
    assert "named: 8 cells: 8 waiting" in run(home, "--study", str(file)).stderr


def test_an_unknown_study_is_wrong_usage(busy: Home) -> None:
    """A name that is neither in the ledger nor in experiments/ is an error that lists what there is."""
    with pytest.raises(UsageError, match="there is no study 'smal'"):
        run(busy, "--study", "smal")


def test_status_loads_nothing_heavy(busy: Home) -> None:
    """It answers from the ledger: no torch, MLflow, Optuna or pandas is imported."""
    script = (
        "import sys; from click.testing import CliRunner; from tracker.cli.main import cli\n"
        "assert CliRunner().invoke(cli, ['status', '--study', 'small', '--home', sys.argv[1]]).exit_code == 0\n"
        "print([name for name in ('torch', 'mlflow', 'optuna', 'alembic', 'pandas') if name in sys.modules])\n"
    )
    found = subprocess.run([sys.executable, "-c", script, str(busy.root)], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
