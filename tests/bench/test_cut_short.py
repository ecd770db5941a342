"""`tracker bench` cut short: by a time limit, by Ctrl-C, by a network that fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata

import psutil
import pytest
import torch
from click.testing import CliRunner

import tracker
from tests.bench.pieces import pieces
from tests.bench.uninstalled import hide_distribution
from tracker.bench.machine import facts
from tracker.bench.measure import Measured, Timing
from tracker.bench.projection import project
from tracker.bench.report import line_of, markdown, row_of
from tracker.cli.main import cli
from tracker.study.errors import TrainingError

CPU = torch.device("cpu")


def test_the_projection_is_of_what_was_measured_in_all_that_it_takes() -> None:
    """A run that was cut short has pairs without a start or an epoch: they do not count; without any there is none."""
    *most, _ = pieces("resnet50", "svhn")
    cut = project(pieces("resnet18", "cifar10") + most)
    assert cut is not None and cut.pairs == (("resnet18", "cifar10"),)
    assert project(most) is None and project([]) is None


def test_a_line_holds_the_numbers_of_a_row() -> None:
    """What stderr tells of a measurement is enough, should the table never come."""
    step = Measured(
        "resnet18", "svhn", "step", "plain", Timing(256, (1.0, 2.0)), Timing(256, (0.5, 1.0)), (2.0, 1.5), 10**9
    )
    head = {"settings": {"batch_size": 256}, "precision": "fp32", "peak_flops": 1e12, "copy_bytes_per_second": 1e12}
    row = {**row_of(replace(step, piece="epoch"), head), "share_of_peak": 0.5, "share_of_copy": 0.25}
    assert line_of(row) == (
        "resnet18 on svhn, epoch: engine 750.0 ms (500.0 to 1,000.0), 341 images/s; reference 171 images/s, "
        "ratio 2.00; 50 % of peak; 25 % of copy; 1,000 MB; J/image 2 the reference, 1.5 the engine"
    )
    assert line_of(row_of(pieces("resnet18", "svhn")[-1], head)) == (
        "resnet18 on svhn, start: engine 9,000.0 ms (4,500.0 to 27,000.0)"
    )


@pytest.fixture
def as_before() -> Iterator[None]:
    """Let SIGTERM do afterwards what it did before."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("hasty", "as_before")
def test_a_run_that_is_ended_prints_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM, as at a time limit: each number was on stderr already; the document follows, and says that it is cut."""

    def ended(*_: object, **__: object) -> Iterator[Measured]:
        yield from pieces("resnet18", "cifar10")[:2]
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr("tracker.bench.measure.measure", ended)
    done = CliRunner().invoke(cli, ["bench", "--device", "cpu", "--accelerate", "plain", "--format", "json"])
    assert done.exit_code == 1
    assert "resnet18 on cifar10, epoch: engine 1,500.0 ms (750.0 to 4,500.0)" in done.stderr
    found = json.loads(done.stdout)
    assert [row["piece"] for row in found["measurements"]] == ["evaluation", "epoch"]
    assert (found["ended_early"], found["projection"]) == ("stopped", None)
    table = markdown(found)
    assert "| resnet18 | cifar10 | epoch | 33 | 67 | 2.00 |" in table
    assert table.endswith("Not all of it was measured: stopped.")


@pytest.mark.usefixtures("hasty", "as_before")
def test_a_run_that_fails_prints_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that does not fit takes nothing with it that was measured before; the error comes all the same."""

    def failing(*_: object, **__: object) -> Iterator[Measured]:
        yield pieces("resnet18", "cifar10")[0]
        raise TrainingError("a trial in company failed: no room")

    monkeypatch.setattr("tracker.bench.measure.measure", failing)
    done = CliRunner().invoke(cli, ["bench", "--device", "cpu"])
    assert isinstance(done.exception, TrainingError)
    assert done.stdout.endswith("Not all of it was measured: a trial in company failed: no room.\n")


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_real_run_that_is_ended_prints_what_it_has(number: signal.Signals) -> None:
    """The same of a real process that is in the midst of measuring, and none of its processes is left."""
    words = ["--device", "cpu", "--models", "squeezenet1_1", "--batch-size", "4", "--datasets", "cifar10,cifar100,svhn"]
    command = [sys.executable, "-m", "tracker", "bench", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("input: engine" in line for line in process.stderr)
        others = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    _, left = psutil.wait_procs(others, timeout=30)
    assert others and not left
    assert process.returncode == 1
    assert "| squeezenet1_1 | cifar10 | input |" in out and out.endswith("Not all of it was measured: stopped.\n")


def test_a_program_that_is_not_installed_knows_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Python's path alone there is no distribution to ask; its version is its own to tell."""
    hide_distribution(monkeypatch)
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("norm-tracker")
    assert facts(CPU)["norm-tracker"] == tracker.__version__
