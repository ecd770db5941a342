"""Rules of `tracker compare`: what goes to stdout, what to stderr, and the exit codes."""

from __future__ import annotations

import csv
import json
import sys
from io import StringIO
from pathlib import Path

import click
import pytest

from tracker.cli.compare import compare
from tracker.cli.main import main
from tracker.compare.formats import FORMATS
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.metrics import RANKING_METRICS
from tracker.tracking.server import database_uri
from tracker.tracking.writing import StudyTracking

DOCUMENT = {
    "name": "tiny",
    "question": "Which one?",
    "recipe": {"model": "resnet18", "dataset": "digits"},
    "axes": {"normalization": ["pretrain", "minmax"], "seed": [1, 2]},
}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with one study: three cells of four finished."""
    home = Home(tmp_path_factory.mktemp("swept") / "mlruns")
    home.make(home.root)
    study = parse_study(DOCUMENT, file="tiny.yaml")
    tracking = StudyTracking(database_uri(home), home, study)
    tracking.open()
    for number, cell in enumerate(study.cells[:3]):
        run = tracking.cell_run(cell, f"{cell.id}-a1")
        run.log_metrics({"best_acc": 0.9 + 0.01 * number, "last_acc": 0.8})
        run.finish("FINISHED")
    tracking.finish("FINISHED")
    return home


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command as the program does, with its handling of errors; return the exit code."""
    monkeypatch.setattr(sys, "argv", ["tracker", "compare", *arguments])
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_alone_on_stdout(
    form: str, swept: Home, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever the format, the result is all there is on stdout, and the missing cell is in it."""
    assert run_command(monkeypatch, "--format", form, "--home", str(swept.root)) == 0
    out, err = capfd.readouterr()
    assert "missing" in out
    assert "tiny" in out
    assert err == ""
    assert "\x1b" not in out
    assert not any(line.endswith(" ") for line in out.splitlines())
    if form == "json":
        assert json.loads(out)["study"] == "tiny"
    if form == "csv":
        assert len(list(csv.DictReader(StringIO(out)))) == 2


def test_output_goes_to_a_file(
    swept: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With -o the result is in the file, stdout is empty, and stderr says where it went."""
    target = tmp_path / "new" / "board.json"
    assert run_command(monkeypatch, "--format", "json", "-o", str(target), "--home", str(swept.root)) == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert str(target) in err
    assert json.loads(target.read_text())["metric"] == "best_acc"


def test_output_that_cannot_be_written(
    swept: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A file where a folder should be is an error that names the output, exit 1."""
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "board.md"
    assert run_command(monkeypatch, "-o", str(target), "--home", str(swept.root)) == 1
    assert f"error: {target}: cannot be written" in capfd.readouterr().err


def test_study_by_path(
    swept: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A path to a study file stands for the study of that name."""
    file = tmp_path / "tiny.yaml"
    file.write_text(json.dumps(DOCUMENT))
    assert run_command(monkeypatch, "--study", str(file), "--metric", "last_acc", "--home", str(swept.root)) == 0
    assert "tiny, last_acc: last epoch" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--baseline", "instance"], 2, "accepted: pretrain, minmax"),
        (["--study", "nosuch"], 1, "no study 'nosuch'"),
        (["--study", "no/such.yaml"], 2, "there is no such study file"),
        (["--metric", "test_acc"], 2, "'best_acc', 'last_acc', 'selected_acc'"),
    ],
)
def test_errors(
    arguments: list[str],
    code: int,
    message: str,
    swept: Home,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Wrong usage is exit 2, what is not there exit 1; the message is on stderr and stdout is empty."""
    assert run_command(monkeypatch, *arguments, "--home", str(swept.root)) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert message in err


def test_nothing_has_run(home: Home, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """In an empty home the error says what to run, exit 1."""
    assert run_command(monkeypatch, "--home", str(home.root)) == 1
    assert "tracker sweep --study quickstart" in capfd.readouterr().err


def test_choices_are_the_ones_there_are() -> None:
    """The command, which imports nothing heavy, offers exactly the metrics and formats there are."""
    choices = {
        parameter.name: parameter.type.choices
        for parameter in compare.params
        if isinstance(parameter.type, click.Choice)
    }
    assert {name: tuple(values) for name, values in choices.items()} == {"metric": RANKING_METRICS, "form": FORMATS}
