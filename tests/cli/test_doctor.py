"""`tracker doctor`: what it finds on real machines, files and servers."""

from __future__ import annotations

import json
import socket
import time
from importlib import metadata
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from tests.bench.uninstalled import hide_distribution
from tests.prepared_store import with_store
from tracker.cli.main import cli
from tracker.ledger.ledger import Ledger
from tracker.study.errors import UsageError
from tracker.study.home import Home
from tracker.study.load import load_study
from tracker.sweep.checkup import machine
from tracker.sweep.checkup.finding import Finding
from tracker.sweep.checkup.report import check_up
from tracker.sweep.checkup.stores import server_version


def run(home: Home, *arguments: str) -> Result:
    """Run the command; its errors come out as exceptions."""
    return CliRunner().invoke(cli, ["doctor", *arguments, "--home", str(home.root)], catch_exceptions=False)


def found(home: Home, topic: str, **options: str) -> list[Finding]:
    """Return the findings on one topic."""
    return [finding for finding in check_up(home, **options) if finding.topic == topic]


def test_a_sound_machine_is_well(home: Home) -> None:
    """On a machine that passes the other tests every topic is named, nothing is a problem, and nothing is written."""
    result = run(home, "--format", "json", "--device", "cpu", "--study", "quickstart")
    document = json.loads(result.stdout)
    assert [f for f in document["findings"] if f["level"] == "problem"] == []
    assert (result.exit_code, document["ok"], result.stderr) == (0, True, "")
    topics = {finding["topic"] for finding in document["findings"]}
    packages = {"torch", "torchvision", "mlflow", "optuna", "sqlalchemy", "click"}
    assert topics >= packages | {"python", "cpu", "device", "disk", "trials", "tracking", "weights", "datasets"}
    versions = {f["topic"]: f["message"] for f in document["findings"] if f["topic"] in packages}
    assert versions == {name: metadata.version(name) for name in packages}
    assert not home.root.exists()


def test_the_screen_fits_and_ends_with_a_verdict(home: Home) -> None:
    """One line a finding on stdout, the verdict on stderr."""
    result = run(home, "--device", "cpu")
    lines = result.stdout.splitlines()
    assert 12 <= len(lines) <= 24
    assert all(line.startswith(("ok  ", "warning  ", " ")) for line in lines)
    assert result.stderr == "all is well\n"


def test_what_a_study_lacks_is_a_problem_with_a_cure(home: Home) -> None:
    """Every dataset and weights file of the reference grid that is not here is named with the command that gets it."""
    result = run(home, "--device", "cpu", "--study", "norm-test")
    assert result.exit_code == 1
    assert "dataset svhn is not on this machine" in result.stdout
    assert "cure: tracker data fetch svhn" in result.stdout
    assert result.stdout.count("PROBLEM") == int(result.stderr.split()[0]) >= 4


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_a_problem(home: Home) -> None:
    """Asking for CUDA on a machine without it is exit code 1, with a cure."""
    result = run(home, "--device", "cuda")
    assert result.exit_code == 1
    assert "PROBLEM  device" in result.stdout
    assert "cure: --device cpu" in result.stdout


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_is_described(home: Home) -> None:
    """Name, memory, driver and bf16 of the card."""
    (finding,) = found(home, "device", device="cuda")
    assert finding.level != "problem"
    assert torch.cuda.get_device_name(0) in finding.message
    assert "bf16" in finding.message and "driver" in finding.message


def test_a_device_that_is_no_device_is_wrong_usage(home: Home) -> None:
    """A word that names no device is refused, as everywhere."""
    with pytest.raises(UsageError, match="accepted: auto, cpu, cuda, cuda:1"):
        run(home, "--device", "gpu")


def test_an_unknown_study_is_wrong_usage(home: Home) -> None:
    """A study that does not exist stops the command."""
    with pytest.raises(UsageError, match="there is no study 'nonesuch'"):
        run(home, "--study", "nonesuch")


def test_packages_are_held_against_the_declared_bounds(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version below the bound in the package's metadata, and a package that is not there, are problems."""
    declared = [requirement for requirement in metadata.requires("norm-tracker") or [] if "torch>=" not in requirement]
    monkeypatch.setattr(machine.metadata, "requires", lambda _: [*declared, "torch>=99"])
    monkeypatch.setattr(machine, "PACKAGES", ("torch", "click"))
    (finding,) = found(home, "torch")
    assert (finding.level, finding.cure) == ("problem", "pip install --upgrade 'torch>=99'")
    assert finding.message == f"{metadata.version('torch')}; needed: >=99"
    assert [finding.level for finding in found(home, "click")] == ["ok"]


def test_a_program_that_is_not_installed_is_looked_at_all_the_same(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Python's path alone it runs sweeps: that its bounds are not known is a warning, and versions are told."""
    hide_distribution(monkeypatch)
    monkeypatch.setattr(machine, "PACKAGES", ("torch", "nonesuch"))
    findings = list(check_up(home, "cpu"))
    levels = {finding.topic: finding.level for finding in findings}
    assert (levels["python"], levels["packages"], levels["torch"], levels["nonesuch"]) == (
        "ok",
        "warning",
        "ok",
        "problem",
    )
    assert [f.cure for f in findings if f.topic == "packages"] == ["pip install -e . in its folder"]
    assert [f.cure for f in findings if f.topic == "nonesuch"] == ["pip install 'nonesuch'"]


def test_a_place_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    """A file where home's folder should be is found before a sweep is begun."""
    (tmp_path / "taken").write_text("a file")
    (finding,) = found(Home(tmp_path / "taken" / "mlruns"), "disk")
    assert finding.level == "problem"
    assert "taken: cannot be written to" in finding.message
    assert "--home" in str(finding.cure)


def test_a_damaged_trial_database_is_a_problem(home: Home) -> None:
    """A file that is no database is named, and the other checks go on."""
    home.make(home.root)
    home.trials_db.write_bytes(b"no tables here " * 500)
    findings = list(check_up(home))
    (finding,) = [finding for finding in findings if finding.topic == "trials"]
    assert finding.level == "problem"
    assert str(home.trials_db) in finding.message
    assert findings[-1].topic == "weights"


def test_cells_without_a_living_worker_are_a_warning(home: Home) -> None:
    """Expired leases are counted, with the command that runs the cells again."""
    with Ledger.local(home, lease_seconds=0.05) as ledger:
        ledger.enroll(load_study("quickstart"))
        ledger.leases.claim("quickstart", "gone")
    time.sleep(0.06)
    about, lost = found(home, "trials")
    assert (about.level, lost.level) == ("ok", "warning")
    assert "schema 0002, wal mode, 1 studies, 24 cells" in about.message
    assert "1 of 24 cells are RUNNING without a living worker" in lost.message
    assert lost.cure == "tracker sweep --study quickstart"


def test_a_tracking_server_that_does_not_answer_is_a_problem(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLFLOW_TRACKING_URI is tried, with a short patience."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    started = time.monotonic()
    (finding,) = found(home, "tracking")
    assert finding.level == "problem"
    assert f"MLFLOW_TRACKING_URI={address}" in finding.message
    assert "nothing listens there" in finding.message
    assert time.monotonic() - started < 30


def test_a_running_server_tells_its_version(home: Home, served_home: Home) -> None:
    """A real local server is found, asked, and named with its version."""
    assert server_version("sqlite:///x.db") is None
    (finding,) = found(served_home, "tracking")
    assert finding.level == "ok"
    assert finding.message.endswith(f"answers, MLflow {metadata.version('mlflow')}")
    (without,) = found(with_store(home), "tracking")
    assert without.message.endswith("no server runs, a sweep starts its own")
