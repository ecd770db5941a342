"""Rules of `tracker report`: what it says, where it writes, and the exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import pytest
from mlflow import MlflowClient

from tests.prepared_store import with_store
from tracker.cli.main import main
from tracker.cli.report import report
from tracker.compare.reporting.write import TEXTS
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.metrics import RANKING_METRICS
from tracker.tracking.reading import read_study
from tracker.tracking.server.addresses import database_uri
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
    home = with_store(Home(tmp_path_factory.mktemp("swept") / "mlruns"))
    uri = database_uri(home)
    study = parse_study(DOCUMENT, file="tiny.yaml")
    MlflowClient(uri).create_experiment(study.name, artifact_location="mlflow-artifacts:/1")
    tracking = StudyTracking(uri, home, study)
    tracking.open()
    for number, cell in enumerate(study.cells[:3]):
        run = tracking.cell_run(cell, f"{cell.id}-a1")
        run.log_metrics({"best_acc": 0.9 + 0.01 * number, "last_acc": 0.8})
        run.finish("FINISHED")
    tracking.finish("FINISHED")
    return home


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command as the program does, with its handling of errors; return the exit code."""
    monkeypatch.setattr(sys, "argv", ["tracker", "report", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)


def artifacts(home: Home) -> Path:
    """Return where the files of the study's own run are."""
    run_id = read_study(database_uri(home), "tiny").run_id
    return home.artifacts / "1" / run_id / "artifacts"


def test_report_is_written_and_logged(
    swept: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The report is in the folder and on the study's run; stdout is empty, stderr says where it is. Twice is once."""
    for _ in range(2):
        assert run_command(monkeypatch, "-o", str(tmp_path / "out"), "--home", str(swept.root)) == 0
        out, err = capfd.readouterr()
        assert out == ""
        assert f"wrote {tmp_path / 'out' / 'report.html'}" in err
        assert "on the study's run" in err
    stored = {path.name for path in (artifacts(swept) / "report").iterdir()}
    assert stored == {*TEXTS, "figures"}
    assert (artifacts(swept) / "report" / "report.html").read_bytes() == (tmp_path / "out/report.html").read_bytes()


def test_options_reach_the_report(
    swept: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Study, metric, baseline and region of equivalence are those asked for; --no-log leaves MLflow alone."""
    options = ["--study", "tiny", "--metric", "last_acc", "--baseline", "minmax", "--rope", "1", "--no-log"]
    before = (artifacts(swept)).stat().st_mtime_ns if artifacts(swept).exists() else None
    assert run_command(monkeypatch, *options, "-o", str(tmp_path), "--home", str(swept.root)) == 0
    assert "on the study's run" not in capfd.readouterr().err
    assert before == ((artifacts(swept)).stat().st_mtime_ns if artifacts(swept).exists() else None)
    content = json.loads((tmp_path / "report.json").read_text())
    board = content["leaderboards"][0]
    assert (board["study"], board["metric"], board["baseline"], board["rules"]["rope"]) == (
        *("tiny", "last_acc", "minmax"),
        0.01,
    )
    assert content["commands"][-1] == (
        "tracker report --study tiny --metric last_acc --baseline minmax --rope 1 -o DIR"
    )


def test_a_server_that_refuses_is_a_warning(
    swept: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """If MLflow does not take the report, it is in the folder all the same, and the exit code is 0."""
    monkeypatch.setattr("tracker.tracking.attaching.repository", lambda *_: Refusing())
    assert run_command(monkeypatch, "-o", str(tmp_path), "--home", str(swept.root)) == 0
    assert "warning: the report is not on the study's run: MLflow at" in capfd.readouterr().err
    assert (tmp_path / "report.html").is_file()


class Refusing:
    """An artifact store that may be read only."""

    def log_artifact(self, *_: object) -> None:
        """Refuse."""
        raise PermissionError(13, "read-only store")


def test_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The published results need no home, and touch none."""
    home = tmp_path / "home"
    assert run_command(monkeypatch, "--published", "-o", str(tmp_path / "out"), "--home", str(home)) == 0
    assert capfd.readouterr().out == ""
    assert not home.exists()
    assert "Its claims" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--baseline", "instance"], 2, "accepted: pretrain, minmax"),
        (["--study", "nosuch"], 1, "no study 'nosuch'"),
        (["--published", "--study", "tiny"], 2, "--published takes neither"),
        (["--published", "--metric", "last_acc"], 2, "--published takes neither"),
        (["--rope", "0"], 2, "--rope"),
    ],
)
def test_errors(
    arguments: list[str],
    code: int,
    message: str,
    swept: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Wrong usage is exit 2, what is not there exit 1; the message is on stderr, and nothing is written."""
    assert run_command(monkeypatch, *arguments, "-o", str(tmp_path / "out"), "--home", str(swept.root)) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert message in err
    assert not (tmp_path / "out").exists()


def test_a_folder_in_the_way(
    swept: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A folder of other things is refused before anything is read, exit 2; without a folder the usage is wrong."""
    (tmp_path / "thesis.tex").write_text("")
    assert run_command(monkeypatch, "-o", str(tmp_path), "--home", str(swept.root)) == 2
    assert "holds other files" in capfd.readouterr().err
    assert run_command(monkeypatch, "--home", str(swept.root)) == 2


def test_nothing_has_run(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In an empty home the error says what to run, exit 1."""
    assert run_command(monkeypatch, "-o", str(tmp_path / "out"), "--home", str(home.root)) == 1
    assert "tracker sweep --study quickstart" in capfd.readouterr().err


def test_choices_are_the_ones_there_are() -> None:
    """The command, which imports nothing heavy, offers exactly the metrics there are."""
    (choice,) = (each.type for each in report.params if isinstance(each.type, click.Choice))
    assert tuple(choice.choices) == RANKING_METRICS
