"""`tracker doctor --self-check`: the table of accelerations, and what it says of one that computes something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from tracker.cli.main import cli
from tracker.study.accelerations import ACCELERATIONS
from tracker.study.home import Home
from tracker.study.load import load_study
from tracker.study.recipe import NORMALIZATIONS, Recipe
from tracker.sweep.checkup import engine
from tracker.sweep.checkup.engine import SIZES, TOGETHER, subjects_of
from tracker.training import selfcheck
from tracker.training.execution import Execution, usual_execution
from tracker.vision.datasets import open_dataset

STUDY = """
name: small
question: Does it compute the same?
datasets: {low: {kind: digits, classes: [0, 1, 2], image_size: 32}}
recipe: {model: squeezenet1_1, dataset: low, source: random, epochs: 1, tune: head}
baseline: minmax
axes: {normalization: [minmax, instance]}
"""
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
    """Each alone and all together, one line a network, and the sum below."""
    result = run(home, study, "--self-check")
    assert result.exit_code == 0
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("squeezenet1_1")]
    assert line.split() == ["squeezenet1_1,", "32", "x", "32,", "head", *["same"] * (len(USUAL) + 1)]
    total = len(USUAL) + 1
    assert f"{total} of {total} compute what the plain path does" in result.stdout
    assert "plain path" not in run(home, study).stdout, "on a CPU only if asked for"


def test_what_computes_something_else_is_named(home: Home, study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table says which, a line below says why; a sweep would go on by the plain path, so nothing has failed."""
    check = selfcheck.check_execution

    def strict(*arguments: object) -> str | None:
        execution = arguments[4]
        assert hasattr(execution, "names")
        return "its output differs" if "channels_last" in execution.names else check(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "check_execution", strict)
    result = run(home, study, "--self-check", "--format", "json")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["ok"]) == (0, True)
    found = {row["acceleration"]: row["reason"] for row in document["self_check"]}
    assert list(found) == [*USUAL, TOGETHER]
    assert {name for name, reason in found.items() if reason} == {"channels_last", TOGETHER}

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
    rows = json.loads(run(home, study, "--self-check", "--format", "json").stdout)["self_check"]
    reasons = {row["acceleration"]: row["reason"] for row in rows}
    assert reasons["fused_input"] == "minmax: images reach the network by the plain path: a bit differs"
    assert reasons["channels_last"] is None
    study.write_text(STUDY.replace("baseline: minmax", "baseline: pretrain").replace("[minmax,", "[pretrain,"))
    rows = json.loads(run(home, study, "--self-check", "--format", "json").stdout)["self_check"]
    assert not any(row["reason"] for row in rows)
