"""`tracker bench`: both sides do the same work, and the numbers are those of the work."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

from tests.bench.pieces import pieces
from tracker.bench import energy
from tracker.bench.machine import copy_bandwidth, peak_flops, step_flops
from tracker.bench.measure import LOADED, Measured, measure
from tracker.bench.report import document, heading, line_of, markdown, row_of, used
from tracker.bench.sides import ALONE, PIECES
from tracker.bench.subject import SHAPES, carried_out, make_recipe, usable_execution
from tracker.cli.bench import bench
from tracker.cli.main import cli
from tracker.study.errors import DeviceError, UsageError
from tracker.study.recipe import PRECISIONS
from tracker.training import precision, selfcheck
from tracker.training.execution import PLAIN, Execution, parse_execution
from tracker.training.graphs import Work
from tracker.vision.rewrites import rewriting

CPU = torch.device("cpu")


class Counting:
    """A recorder that counts what it is given, and lets the host do it."""

    recorded = 0

    def rehearse(self, work: Work) -> None:
        """Do it."""
        work()

    def record(self, work: Work) -> Work:
        """Return it."""
        self.recorded += 1
        return work


def test_an_execution_is_checked_on_a_whole_and_a_short_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of both sizes and evaluation are recorded: workers believe what was found here."""
    recorder = Counting()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(selfcheck, "recorder_of", lambda *_: recorder)
    asked = parse_execution("fused_optimizer", CPU)
    recipe = make_recipe("squeezenet1_1", "cifar10", 4).model_copy(update={"tune": "head"})
    assert usable_execution(recipe, SHAPES["cifar10"], CPU, asked, print) == asked
    assert recorder.recorded == 3


def test_arithmetic_is_counted() -> None:
    """resnet18 at 32 x 32 has 37,016,576 multiply-adds forward; backward twice that, less the input's gradient."""
    flops = step_flops(make_recipe("resnet18", "cifar10", 2), 32, 10)
    forward = 2 * 37_016_576
    assert 2.9 * forward < flops < 3 * forward
    assert peak_flops(CPU) > 1e8 and copy_bandwidth(CPU) > 1e7


class Meter:
    """A counter that counts how often it is read: ten joules each time."""

    source = "a test"
    read = 0

    def joules(self) -> float:
        """Return ten more than last time."""
        self.read += 1
        return 10.0 * self.read


@dataclass(frozen=True)
class Run:
    """The command run once, and what it measured."""

    result: Result
    measured: list[Measured]


@pytest.fixture(scope="module")
def run() -> Run:
    """Every piece of a small network, in two rounds."""
    found: list[Measured] = []

    def kept(*arguments: Any, **options: Any) -> Iterator[Measured]:
        for each in measure(*arguments, **options):
            found.append(each)
            yield each

    words = ["bench", "--models", "squeezenet1_1", "--device", "cpu", "--batch-size", "4", "--batches", "2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(energy, "SECONDS", 0.0)
        patch.setattr(energy, "find_counter", lambda _: Meter())
        patch.setattr("tracker.bench.measure.measure", kept)
        before = signal.getsignal(signal.SIGTERM)
        result = CliRunner().invoke(cli, [*words, "--times", "2", "--format", "json"], catch_exceptions=False)
        signal.signal(signal.SIGTERM, before)
    return Run(result, found)


@pytest.fixture
def measured(run: Run) -> list[Measured]:
    """What it measured."""
    return run.measured


def test_each_piece_is_done_by_both_sides(measured: list[Measured]) -> None:
    """In rounds, after a rehearsal that does not count; of more images where a loader has to get going."""
    assert [each.piece for each in measured] == list(PIECES)
    for each in measured:
        assert (each.reference is None) == (each.piece in ALONE)
        for timing in (each.engine, each.reference or each.engine):
            assert len(timing.seconds) == 2 and all(seconds > 0 for seconds in timing.seconds)
    assert [each.engine.images for each in measured] == [4 * LOADED, 4, 1, 8, 0]


def test_memory_and_energy_are_told_of_an_epoch(measured: list[Measured]) -> None:
    """Memory of a process of its own; joules an image for each side."""
    (epoch,) = [each for each in measured if each.peak_bytes is not None]
    assert epoch.piece == "epoch" and epoch.peak_bytes is not None and epoch.peak_bytes > 5e7
    assert epoch.joules == (10 / 8, 10 / 8)
    assert all(each.joules is None for each in measured if each is not epoch)


class Doubling(nn.Linear):
    """A rewrite of a linear layer that gives twice what it should."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return twice the outputs."""
        return 2 * super().forward(inputs)


@pytest.mark.usefixtures("hasty")
def test_a_document_names_what_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rewrite that computes something else is found out: the rows say plain, and why is said when it is found."""
    monkeypatch.setitem(rewriting._CHANGES, "no_step_counters", lambda network: [(network.fc, Doubling)])
    said: list[str] = []
    asked = parse_execution("no_step_counters,channels_last", CPU)
    recipe = make_recipe("shufflenet_v2_x0_5", "cifar10", 4)
    used = usable_execution(recipe, SHAPES["cifar10"], CPU, asked, said.append)
    assert used == PLAIN
    assert said and "trained by the plain path instead of no_step_counters, channels_last" in said[0]
    found = [replace(each, execution=str(used)) for each in pieces("resnet18", "cifar10")]
    head = heading(CPU, asked, {"batch_size": 4, "batches": 1, "times": 1}, 2)
    document_of = document(head, [row_of(each, head) for each in found], found)
    assert {row["execution"] for row in document_of["measurements"]} == {"plain"}
    table = markdown(document_of)
    assert "| resnet18 | cifar10 | epoch | plain |" in table and "each row says what of it was used" in table


def test_a_rewrite_that_finds_nothing_is_not_named() -> None:
    """squeezenet has no BatchNorm and no dense block; the table says without what it was measured."""
    said: list[str] = []
    asked = parse_execution("no_step_counters,running_concatenation,channels_last", CPU)
    used_here = usable_execution(make_recipe("squeezenet1_1", "cifar10", 4), SHAPES["cifar10"], CPU, asked, said.append)
    assert str(used_here) == "channels_last" and len(said) == 2
    assert "running_concatenation finds nothing to do in squeezenet1_1" in said
    assert used(str(used_here), str(asked)) == "without running_concatenation, no_step_counters"
    assert used(str(asked), str(asked)) == "as asked"


def test_what_could_not_be_recorded_is_not_named() -> None:
    """A trial that says so while it is trained goes on without; one that says nothing has used what it was given."""
    asked = Execution(frozenset({"cuda_graph", "channels_last"}))
    assert str(carried_out(asked, ["steps are not recorded but done one by one: RuntimeError"])) == "channels_last"
    assert carried_out(asked, []) == asked


def test_the_command_prints_a_document(run: Run) -> None:
    """JSON alone on stdout, with machine, versions, settings and what is made of them; each number before on stderr."""
    done = run.result
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert document["machine"]["torch"] == torch.__version__.partition("+")[0]
    assert re.match(r"[0-9a-f]{40}", document["machine"].get("commit", "0" * 40))
    assert document["settings"]["batch_size"] == 4 and "fused_input" in document["asked"]
    assert {row["piece"] for row in document["measurements"]} == set(PIECES)
    steps = [row for row in document["measurements"] if row["piece"] == "step"]
    assert steps and all(0 < row["share_of_peak"] < 2 and 0 < row["share_of_copy"] < 5 for row in steps)
    assert document["projection"]["engine"] > 0 and document["projection"]["cells"] == 4
    assert document["ended_early"] is None
    told = [line_of(row) for row in document["measurements"]]
    assert [line for line in done.stderr.splitlines() if line in told] == told
    assert "| squeezenet1_1 | cifar10 | start |" in markdown(document)


@pytest.mark.usefixtures("hasty")
def test_an_emulated_precision_is_held_to_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product of bf16 matrices that the processor cannot do takes a hundred times as long, and is no measure."""
    settings = {"batch_size": 4, "batches": 1, "times": 1}
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    found = heading(CPU, PLAIN, settings, 2, "bf16")
    assert (found["precision"], found["peak_precision"]) == ("bf16", "fp32")
    table = markdown(document(found, [], []))
    assert "precision bf16;" in table and "fp32 matrix product" in table


def test_the_command_takes_the_recipes_precisions() -> None:
    """Its choices are written out, since help must be fast; they are the recipe's."""
    (option,) = [each for each in bench.params if each.name == "precision"]
    assert isinstance(option.type, click.Choice) and tuple(option.type.choices) == PRECISIONS
    with pytest.raises(DeviceError, match="tf32"):
        CliRunner().invoke(cli, ["bench", "--device", "cpu", "--precision", "tf32"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--models", "resnet"], "resnet18"),
        (["--datasets", "cifar"], "cifar100"),
        (["--accelerate", "fast"], "channels_last"),
        (["--device", "cuda:x"], "accepted: auto, cpu"),
        (["-o", "cost.svg"], "--scaling -o scaling.svg"),
        (["--scaling", "-o", "cost.pdf"], "--scaling -o scaling.svg"),
        (["--scaling", "--models", "resnet18,resnet50"], "--models resnet18 --datasets cifar10"),
    ],
)
def test_wrong_words_are_wrong_usage(arguments: list[str], words: str) -> None:
    """Exit code 2, and what is accepted."""
    with pytest.raises(UsageError) as refused:
        CliRunner().invoke(cli, ["bench", *arguments], catch_exceptions=False)
    assert words in str(refused.value.cure)
