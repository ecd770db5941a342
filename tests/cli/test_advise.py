"""`tracker advise`: from a folder to an answer, interrupted and gone on with; and what it refuses."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors import SafetensorError

from tests.advise.material import MODEL, make_folder, make_source
from tracker.advise import definition, pace, planning, rounds, wording
from tracker.cli.advise import advise
from tracker.cli.main import cli
from tracker.ledger.ledger import Ledger
from tracker.study.errors import DataError, DataMissing, DiskFull, SourceMissing, TrackerError, UsageError
from tracker.study.home import Home
from tracker.sweep import run as sweep_run
from tracker.sweep.events import CellDone, Event
from tracker.sweep.progress import LineDisplay, Tally
from tracker.tracking.server import lifecycle


def ask(home: Home, *arguments: str | Path) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(cli, ["advise", *map(str, arguments), "--home", str(home.root), "--device", "cpu"])


def refused(home: Home, *arguments: str | Path) -> TrackerError:
    """Run the command, which must end with an error that has a message and a cure, and begin nothing."""
    result = ask(home, *arguments)
    assert isinstance(result.exception, TrackerError), result.output
    assert result.exception.message and result.exception.cure
    assert not home.trials_db.exists()
    return result.exception


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The command's handler of SIGTERM does not outlive it."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two settings, two seeds of two epochs, and no more."""
    monkeypatch.setattr(definition, "SETTINGS", ("pretrain", "finetune"))
    for module in (definition, planning, wording):
        monkeypatch.setattr(module, "FIRST_SEEDS", 2)
    for name in ("LEAST_EPOCHS", "USUAL_EPOCHS", "MOST_EPOCHS"):
        monkeypatch.setattr(planning, name, 2)
    monkeypatch.setattr(rounds, "MAX_SEEDS", 2)


class CtrlC(LineDisplay):
    """A display whose user presses Ctrl-C when a run is done."""

    done = 0

    def show(self, event: Event) -> None:
        super().show(event)
        self.done += isinstance(event, CellDone)
        if self.done == 1:
            self.done += 1
            raise KeyboardInterrupt


def rows_of(home: Home, study: str) -> list[tuple[str, int]]:
    """Return state and attempts of each cell."""
    with Ledger.local(home) as ledger:
        return [(row.state, row.attempts) for row in ledger.rows(study)]


@pytest.mark.usefixtures("short")
@pytest.mark.soak
def test_an_answer_is_interrupted_gone_on_with_and_repeated(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C loses nothing; the same command runs the rest and no cell twice; asked again it answers without a run."""
    make_source(home, "small")
    folder = make_folder(tmp_path / 'it\'s "mine" é\n', count=15)
    command = (folder, "--source", "small", "--budget", "60m")
    lifecycle.start(home)
    try:
        monkeypatch.setattr(sweep_run, "make_display", lambda console, total, what: CtrlC(console, Tally(total)))
        first = ask(home, *command)
        assert first.exit_code == 1, first.output
        assert "plan: 2 settings x 2 seeds" in first.stderr
        assert "stopped; the same command goes on" in first.stderr
        assert "Use " not in first.stdout
        monkeypatch.setattr(sweep_run, "make_display", lambda console, total, what: LineDisplay(console, Tally(total)))

        second = ask(home, *command, "--format", "json")
        assert second.exit_code == 0, second.output
        told = json.loads(second.stdout)
        assert f"going on with study {told['study']}" in second.stderr
        counted = Counter(rows_of(home, told["study"]))
        assert sum(counted.values()) == 4 and {state for state, _ in counted} == {"COMPLETE"}, counted
        assert counted["COMPLETE", 1] >= 3, "at most the interrupted one was taken up again"
    finally:
        lifecycle.stop(home)
    _check_document(told)

    third = ask(home, *command)
    assert third.exit_code == 0, third.output
    assert "[1/" not in third.stderr
    assert Counter(rows_of(home, told["study"])) == counted
    assert third.stdout.count(told["recommendation"]["headline"]) == 1
    assert f"tracker compare --study {told['study']} --metric last_acc --rope 1" in third.stdout
    assert 'it\'s "mine" é\\n: 45 images of 3 classes, 36 to train on and 9 to test on' in third.stdout
    assert told["code"][told["recommendation"]["setting"]].splitlines()[-1] in third.stdout


def _check_document(told: dict[str, Any]) -> None:
    """Everything is there, and agrees with itself."""
    assert (told["plan"]["epochs"], told["plan"]["train"], told["plan"]["test"]) == (2, 36, 9)
    assert told["inspection"]["train"] == 36
    assert told["source"]["statistics"] == {"mean": [0.4] * 3, "std": [0.2] * 3}
    assert told["recommendation"]["setting"] in told["leaderboard"]["settings"]
    assert told["leaderboard"]["rules"] == {"rope": 0.01, "look": 1, "force": False, "alpha": 0.025}
    scores = told["leaderboard"]["rows"][0]["scores"]
    assert {name: scores[name]["n"] for name in scores} == {"pretrain": 2, "finetune": 2}
    assert told["ending"] in ("no use", "decided")
    assert set(told["code"]) == {"pretrain", "finetune"}
    assert any(sentence.startswith("Short runs: 2 epochs on 36 images") for sentence in told["caveats"])
    assert told["runs"] == {"done": 4, "all": 4}
    assert told["spent_seconds"] > 0
    names: dict[str, Any] = {}
    exec(told["code"]["pretrain"], names)  # noqa: S102
    found = names["normalize"](torch.full((3, 2, 2), 51, dtype=torch.uint8))
    assert torch.allclose(torch.as_tensor(found), torch.full((3, 2, 2), -1.0), atol=1e-6)


def test_a_look_trains_nothing_and_needs_no_weights(home: Home, tmp_path: Path) -> None:
    """Classes, sizes, statistics beside the source's, and warnings; as JSON too; the home is not made."""
    folder = make_folder(
        tmp_path / "gray", gray=True, classes=tuple(f"class {number:02}" for number in range(15)), count=4
    )
    shown = ask(home, folder, "--look")
    assert shown.exit_code == 0, shown.output
    assert "60 images of 15 classes" in shown.stdout
    assert "... 3 more" in shown.stdout and "class 00" in shown.stdout
    assert "pixels: 16x16; files: PNG 60; modes: L 60" in shown.stdout
    assert "distance, in its std" in shown.stdout and "0.2290  0.2240  0.2250" in shown.stdout
    assert "warning: " in shown.stdout and "  cure: " in shown.stdout
    found = json.loads(ask(home, folder, "--look", "--format", "json").stdout)
    assert found["inspection"]["channels"] == 1
    assert found["source"]["name"] == "torchvision"
    assert not home.root.exists()


def test_weights_that_are_not_here_are_named_before_the_folder_is_read(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command that gets them."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    error = refused(home, make_folder(tmp_path / "few"))
    assert isinstance(error, SourceMissing)
    assert "tracker data fetch --weights resnet18:IMAGENET1K_V1" in str(error)


def test_what_cannot_be_trained_on_is_refused(home: Home, tmp_path: Path) -> None:
    """Missing, a file, empty, one class, one image a class, half a split: each with a cure, and nothing begun."""
    make_source(home, "small")
    picture = Image.new("RGB", (16, 16), (9, 90, 200))
    (tmp_path / "empty").mkdir()
    for path in ("one class/a/1", "one class/a/2", "single/a/1", "single/b/1", "half/train/a/1", "half/train/b/1"):
        file = tmp_path / f"{path}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture.save(file)
    cases = {
        "nowhere": (DataMissing, "there is no such folder"),
        "single/a/1.png": (DataError, "is a file"),
        "empty": (DataError, "has no folders, so no classes"),
        "one class": (DataError, "there is one class"),
        "single": (DataError, "a single image"),
        "half": (DataError, "has train/ but no test/"),
    }
    for name, (kind, message) in cases.items():
        error = refused(home, tmp_path / name, "--source", "small")
        assert isinstance(error, kind) and message in error.message, name


def test_unreadable_files_are_listed_and_left_out_only_if_asked(home: Home, tmp_path: Path) -> None:
    """The first ten by name, all counted."""
    make_source(home, "small")
    folder = make_folder(tmp_path / "some")
    for number in range(12):
        (folder / "a" / f"bad {number:02}\n.png").write_text("no image")
    error = refused(home, folder, "--source", "small")
    assert error.message.startswith("12 files cannot be read as an image:\n")
    assert error.message.count("bad ") == 10
    assert "a/bad 00\\n.png: " in error.message and error.message.endswith("and 2 more")
    assert "--skip-unreadable" in str(error.cure)
    skipped = ask(home, folder, "--source", "small", "--skip-unreadable", "--budget", "1s")
    assert isinstance(skipped.exception, UsageError), skipped.output
    assert "12 files" in skipped.stdout


def test_a_budget_too_short_names_the_least(home: Home, tmp_path: Path) -> None:
    """Measured on these images; nothing is enrolled, and a budget that is as long will do."""
    make_source(home, "small")
    error = refused(home, make_folder(tmp_path / "few"), "--source", "small", "--budget", "2s")
    assert isinstance(error, UsageError)
    assert "--budget 2s is too short: the smallest comparison takes " in error.message
    assert str(error.cure).startswith("--budget ")


def test_images_too_small_for_the_network_are_told_which_option_helps(home: Home, tmp_path: Path) -> None:
    """Before the pace is measured."""
    folder = make_folder(tmp_path / "few", count=4)
    error = refused(home, folder, "--source", "random:squeezenet1_0", "--image-size", "8")
    assert isinstance(error, DataError) and "squeezenet1_0 cannot take the 8 x 8 images" in error.message
    assert "--image-size" in str(error.cure)


def test_a_home_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """It names the place, and how to choose another."""
    file = tmp_path / "file"
    file.touch()
    error = refused(Home(file / "home"), make_folder(tmp_path / "few"), "--source", "random:resnet18")
    assert str(file) in error.message and "--home" in str(error.cure)


def test_a_disk_without_room_is_an_error(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found when the pace is measured, by writing a training state; what was written is gone again."""

    def full(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(pace, "save_file", full)
    error = refused(home, make_folder(tmp_path / "few", count=4), "--source", f"random:{MODEL}")
    assert isinstance(error, DiskFull) and "No space left" in error.message
    assert not list(home.work.iterdir())


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1h30m", 5400), ("1.5m", 90), ("720h", 2_592_000)]
)
def test_a_budget_is_told_with_its_unit(text: str, seconds: float) -> None:
    """Hours, minutes and seconds."""
    budget = next(parameter for parameter in advise.params if parameter.name == "budget")
    assert budget.type.convert(text, budget, None) == seconds


@pytest.mark.parametrize("text", ["10", "", "m", "10 m", "-5m", "0s", "721h", "1e9h", "10min", "nan", "1m30"])
def test_a_budget_without_sense_is_wrong_usage(text: str, tmp_path: Path) -> None:
    """Exit code 2, and what is accepted."""
    result = CliRunner().invoke(cli, ["advise", str(tmp_path), "--budget", text])
    assert result.exit_code == 2
    assert "90s, 10m, 2h" in result.stderr
