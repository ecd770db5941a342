"""`tracker doctor --self-check`: the table of accelerations, and what it says of one that computes something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from tests.training.recorders import Repeater
from tracker.bench.subject import make_recipe
from tracker.cli.main import cli
from tracker.study.accelerations import ACCELERATIONS
from tracker.study.home import Home
from tracker.study.load import load_study
from tracker.study.recipe import NORMALIZATIONS, Recipe
from tracker.sweep.checkup import engine
from tracker.sweep.checkup.engine import SIZES, TOGETHER, Subject, columns, self_check, subjects_of
from tracker.training import selfcheck
from tracker.training.execution import COMPILE, Execution, usual_execution
from tracker.vision.datasets import open_dataset

STUDY = """
name: small
question: Does it compute the same?
datasets: {low: {kind: digits, classes: [0, 1, 2], image_size: 32}}
recipe: {model: squeezenet1_1, dataset: low, source: random, epochs: 1, tune: head}
baseline: minmax
axes: {normalization: [minmax, instance]}
"""
TWO = STUDY.replace("model: squeezenet1_1, ", "").replace("axes: {", "axes: {model: [squeezenet1_1, squeezenet1_0], ")
CPU = torch.device("cpu")
USUAL = [name for name in ACCELERATIONS if name in usual_execution(CPU)]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of one network."""
    file = tmp_path / "small.yaml"
    file.write_text(STUDY)
    return file


def run(home: Home, study: Path, *arguments: str) -> Result:
    """Run the command; its errors come out as exceptions."""
    words = ["doctor", "--device", "cpu", "--study", str(study), "--home", str(home.root), *arguments]
    return CliRunner().invoke(cli, words, catch_exceptions=False)


def test_every_acceleration_is_held_against_the_plain_path(home: Home, study: Path) -> None:
    """Each alone and all together, one line a network, and the sum below; what is looked at is told meanwhile."""
    result = run(home, study, "--self-check")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == "self-check, 1 of 1: squeezenet1_1, 32 x 32, head"
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("squeezenet1_1")]
    assert line.split() == ["squeezenet1_1,", "32", "x", "32,", "head", *["same"] * (len(USUAL) + 1)]
    total = len(USUAL) + 1
    assert f"{total} of {total} compute what the plain path does" in result.stdout
    assert "plain path" not in run(home, study).stdout, "on a CPU only if asked for"


def test_what_computes_something_else_is_named(home: Home, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table says which, a line below says why; a sweep would go on by the plain path, so nothing has failed."""

    def strict(*arguments: Any) -> str | None:
        return "its output differs" if "channels_last" in arguments[4] else None

    monkeypatch.setattr(engine, "check_execution", strict)
    result = run(home, study, "--self-check", "--format", "json")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["ok"]) == (0, True)
    found = {row["acceleration"]: row["reason"] for row in document["self_check"]}
    assert list(found) == [*USUAL, TOGETHER]
    assert {name for name, reason in found.items() if reason} == {"channels_last", TOGETHER}
    assert f"squeezenet1_1, 32 x 32, head: {len(USUAL) - 1} of {len(USUAL) + 1} compute" in result.stderr

    shown = run(home, study, "--self-check").stdout
    assert "squeezenet1_1, 32 x 32, head, channels_last: its output differs" in shown
    assert f"{len(USUAL) - 1} of {len(USUAL) + 1} compute" in shown


def test_a_network_that_does_not_take_the_images_is_told_of(home: Home, study: Path) -> None:
    """The plain path's own failure is a line of the table, not a traceback."""
    study.write_text(STUDY.replace("image_size: 32", "image_size: 8"))
    cell = load_study(str(study)).cells[0]
    open_dataset("low", cell.dataset, home)
    rows = json.loads(run(home, study, "--self-check", "--format", "json").stdout)["self_check"]
    assert {row["subject"] for row in rows} == {"squeezenet1_1, 8 x 8, head"}, "the size of the packed images"
    assert {row["reason"].partition(":")[0] for row in rows} == {"the plain path itself failed"}


def test_without_a_study_the_reference_studys_networks_are_checked(home: Home) -> None:
    """Four networks at both sizes; a study's own otherwise, each once however many cells it has."""
    assert len(subjects_of(None, home, CPU)) == 4 * len(SIZES)
    grid = subjects_of(load_study("norm-test"), home, CPU)
    assert len(grid) == 4 and {subject.size for subject in grid} == {32}, "no dataset is packed in an empty home"
    assert all(subject.normalizations == tuple(NORMALIZATIONS) for subject in grid)


def test_the_input_of_each_of_a_studys_normalizations_is_compared(
    home: Home, study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose input differs names itself; one that the study does not have is not looked at."""
    usable = selfcheck.with_usable_input

    def without_minmax(recipe: Recipe, *rest: Any) -> Execution:
        if recipe.normalization == "minmax":
            rest[-1]("images reach the network by the plain path: a bit differs")
        return usable(recipe, *rest)

    monkeypatch.setattr(engine, "with_usable_input", without_minmax)
    monkeypatch.setattr(engine, "check_execution", lambda *_: None)  # of the rest; here it is about the input
    rows = json.loads(run(home, study, "--self-check", "--format", "json").stdout)["self_check"]
    reasons = {row["acceleration"]: row["reason"] for row in rows}
    assert reasons["fused_input"] == "minmax: images reach the network by the plain path: a bit differs"
    assert reasons["channels_last"] is None
    study.write_text(STUDY.replace("baseline: minmax", "baseline: pretrain").replace("[minmax,", "[pretrain,"))
    rows = json.loads(run(home, study, "--self-check", "--format", "json").stdout)["self_check"]
    assert not any(row["reason"] for row in rows)


def test_rows_are_printed_as_they_are_complete(home: Home, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who stops a long check has the networks that were looked at, with the reasons."""

    def stopping(recipe: Recipe, *_: object) -> str | None:
        if recipe.model == "squeezenet1_0":
            raise KeyboardInterrupt
        return "its output differs"

    monkeypatch.setattr(engine, "check_execution", stopping)
    study.write_text(TWO)
    result = run(home, study, "--self-check")
    rows = [line for line in result.stdout.splitlines() if line.startswith("squeezenet")]
    assert (result.exit_code, len(rows)) == (1, 1)
    assert rows[0].split()[-len(USUAL) - 1 :] == ["plain"] * (len(USUAL) + 1)
    assert "  squeezenet1_1, 32 x 32, head, all together: its output differs" in result.stdout
    assert "self-check, 2 of 2: squeezenet1_0, 32 x 32, head" in result.stderr


def test_compiling_is_asked_for_by_name() -> None:
    """On a GPU every acceleration has a column; `compile`, the slowest, only if it is asked for, and alone."""
    cuda = torch.device("cuda")
    asked, unasked = columns(cuda, compiled=True), columns(cuda, compiled=False)
    assert list(asked) == [*ACCELERATIONS, TOGETHER]
    assert list(unasked) == [name for name in asked if name != COMPILE]
    assert asked[TOGETHER] == unasked[TOGETHER] == Execution(frozenset(ACCELERATIONS) - {COMPILE})
    assert list(columns(CPU, compiled=True)) == [*USUAL, TOGETHER], "a CPU has it not among what it is trained with"


def test_whole_steps_are_checked_of_a_whole_and_a_short_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of both sizes and evaluation are recorded: a graph of the short batch is another graph."""
    recorder = Repeater()
    monkeypatch.setattr(selfcheck, "recorder_of", lambda *_: recorder)
    recipe = make_recipe("squeezenet1_1", "self-check", 4)
    subject = Subject(recipe.model_copy(update={"statistics": "exact", "tune": "head"}), 32, 3, ("finetune",))
    (outcome,) = self_check(subject, CPU, {"cuda_graph": Execution(frozenset({"cuda_graph"}))})
    assert (outcome.reason, recorder.counts["recorded"]) == (None, 3)
