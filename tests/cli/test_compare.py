"""Rules of `tracker compare`: what goes to stdout, what to stderr, and the exit codes."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import click
import pytest

from tests.prepared_store import with_store
from tracker.cli.compare import compare
from tracker.cli.main import main
from tracker.compare.formats import FORMATS
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.metrics import RANKING_METRICS
from tracker.tracking.server.addresses import database_uri
from tracker.tracking.writing import StudyTracking

DOCUMENT = {
    "name": "tiny",
    "question": "Which one?",
    "recipe": {"model": "resnet18", "dataset": "digits"},
    "axes": {"normalization": ["pretrain", "minmax"], "seed": [1, 2]},
}


OVERLAPPING = {
    "name": "again",
    "question": "Does it come out again?",
    "recipe": {"model": "resnet18", "dataset": "cifar10", "statistics": "published", "epochs": 30},
    "axes": {"normalization": ["pretrain", "minmax"], "seed": [1, 2, 3]},
}
"""Two of its configurations are among the published results."""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with two studies: one that can be set against the published results, and last, three cells of four."""
    home = with_store(Home(tmp_path_factory.mktemp("swept") / "mlruns"))
    study = parse_study(OVERLAPPING, file="again.yaml")
    tracking = StudyTracking(database_uri(home), home, study)
    tracking.open()
    for cell in study.cells:
        run = tracking.cell_run(cell, f"{cell.id}-a1", {"tracker.test_images": "10000"})
        best = {"pretrain": 0.88, "minmax": 0.80}[cell.recipe.normalization] + 0.001 * cell.recipe.seed
        run.log_metrics({"best_acc": best, "last_acc": 0.8})
        run.finish("FINISHED")
    tracking.finish("FINISHED")
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
    assert {name: tuple(values) for name, values in choices.items()} == {
        "metric": RANKING_METRICS,
        "form": FORMATS,
        "against": ("published",),
    }


PUBLISHED_ALONE = """
import json, sys
from tracker.cli.main import main

sys.argv = ["tracker", "compare", "--published"]
try:
    main()
except SystemExit as ended:
    json.dump({"code": ended.code, "modules": sorted({name.partition(".")[0] for name in sys.modules})}, sys.stderr)
"""


@pytest.mark.parametrize("form", FORMATS)
def test_published_in_every_format(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """--published is all there is on stdout; the formats for readers carry the judgement, CSV and LaTeX the table."""
    monkeypatch.chdir(tmp_path)
    assert run_command(monkeypatch, "--published", "--format", form) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "densenet161" in out
    assert not any(line.endswith(" ") for line in out.splitlines())
    told = form in ("table", "markdown", "json")
    assert ("does not hold" in out) == told
    if form == "json":
        assert json.loads(out)["judgement"]["beyond"] == 0
    if form == "csv":
        assert len(list(csv.DictReader(StringIO(out)))) == 64
    assert list(tmp_path.iterdir()) == [], "nothing is written: no home"


def test_published_needs_no_home_and_nothing_heavy(tmp_path: Path) -> None:
    """From an empty folder, in a process of its own: no home is made, and neither torch nor mlflow is imported."""
    done = subprocess.run(
        [sys.executable, "-c", PUBLISHED_ALONE], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    said = json.loads(done.stderr)
    assert said["code"] in (0, None)
    assert "Table 2" in done.stdout
    heavy = {"torch", "torchvision", "mlflow", "optuna", "sqlalchemy", "pandas", "matplotlib", "sklearn"}
    assert heavy & set(said["modules"]) == set()
    assert list(tmp_path.iterdir()) == []


def test_published_against_another_baseline(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The leaderboard's baseline can be chosen; the tables of the reference study stay."""
    assert run_command(monkeypatch, "--published", "--baseline", "minmax") == 0
    out = capfd.readouterr().out
    assert "baseline minmax" in out
    assert "Table 2: finetune against pretrain" in out


def test_published_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """-o writes it like any leaderboard."""
    target = tmp_path / "published.md"
    assert run_command(monkeypatch, "--published", "--format", "markdown", "-o", str(target)) == 0
    assert capfd.readouterr() == ("", f"wrote {target}\n")
    assert "### Table 1" in target.read_text()


@pytest.mark.parametrize("form", ["table", "markdown", "json"])
def test_against_published(
    form: str, swept: Home, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A study of a real store beside the published results: one cell within noise, one beyond, the recipe named."""
    arguments = ["--study", "again", "--against", "published", "--format", form, "--home", str(swept.root)]
    assert run_command(monkeypatch, *arguments) == 0
    out, err = capfd.readouterr()
    assert err == ""
    if form == "json":
        found = json.loads(out)
        assert [each["within"] for each in found["results"]] == [True, False]
        assert found["results"][0]["difference"] == pytest.approx(0.882 - 0.8798)
        assert found["departures"] == [{"key": "epochs", "ours": [30], "reference": 100}]
    else:
        assert "within noise" in out
        assert "beyond noise" in out
        assert "epochs 30 (reference 100)" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--published", "--study", "tiny"], "--published takes no --study"),
        (["--published", "--against", "published"], "exclude each other"),
        (["--published", "--metric", "last_acc"], "accepted: best_acc"),
        (["--published", "--baseline", "none"], "accepted: finetune, pretrain, instance, minmax"),
        (["--against", "published", "--metric", "last_acc"], "last_acc was not published"),
        (["--against", "published", "--format", "csv"], "accepted: table, markdown, json"),
        (["--against", "published", "--baseline", "minmax"], "takes no --baseline"),
        (["--against", "ours"], "'published'"),
        (["--against", "published"], "the reference study has: model densenet121"),
    ],
)
def test_errors_beside_the_published_results(
    arguments: list[str],
    message: str,
    swept: Home,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """What has no meaning there is wrong usage, exit 2; so is a study of which nothing was published."""
    assert run_command(monkeypatch, *arguments, "--home", str(swept.root)) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert message in err
