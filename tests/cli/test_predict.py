"""Rules of `tracker predict`: what goes to stdout, what to stderr, and the exit codes."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.deploy.swept import HOSTILE, checkpoint_by_hand
from tracker.cli.main import main


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as a sweep keeps it."""
    return checkpoint_by_hand(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images and two files that are none, one with a name that a terminal would obey."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for number, name in enumerate(("a.png", "b.png", "=c.png")):
        Image.fromarray(random.integers(0, 256, (20 + number, 30), np.uint8)).save(folder / name)
    (folder / "z\x1b[31m.png").write_bytes(b"\x89PNG")
    (folder / "zero.jpg").write_bytes(b"")
    return folder


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command as the program does, with its handling of errors; return the exit code."""
    monkeypatch.setattr(sys, "argv", ["tracker", "predict", *arguments])
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_every_format(
    form: str,
    checkpoint: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The predictions alone are on stdout; what cannot be read is on stderr with its reason, and the exit code is 1."""
    assert run_command(monkeypatch, str(checkpoint), str(images), "--format", form, "--top", "2") == 1
    out, err = capfd.readouterr()
    assert "\x1b" not in out + err
    assert err.count("cannot be read: ") == 2
    assert "zero.jpg: is empty" in err
    assert "z\\x1b[31m.png" in err
    assert "2 of 5 could not be read" in err
    if form == "json":
        said = json.loads(out)
        assert [Path(each["image"]).name for each in said["predictions"]] == ["=c.png", "a.png", "b.png"]
        assert all(len(each["top"]) == 2 for each in said["predictions"])
        assert said["classes"] == list(HOSTILE)
        assert len(said["unreadable"]) == 2
    elif form == "csv":
        rows = list(csv.DictReader(io.StringIO(out)))
        assert [row["rank"] for row in rows] == ["1", "2"] * 3
        assert all(0 <= float(row["probability"]) <= 1 for row in rows)
    else:
        assert len(out.splitlines()) == 1 + 3 * 2


def test_one_image_and_nothing_wrong(
    checkpoint: Path, images: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0, stderr empty; K larger than the number of classes gives all of them."""
    assert run_command(monkeypatch, str(checkpoint), str(images / "a.png"), "--top", "99", "--format", "json") == 0
    out, err = capfd.readouterr()
    assert err == ""
    (found,) = json.loads(out)["predictions"]
    assert sorted(each["class"] for each in found["top"]) == sorted(HOSTILE)
    assert sum(each["probability"] for each in found["top"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("model", "code", "message"),
    [
        ("nowhere", 2, "there is no such model"),
        (".", 1, "is no export"),
        ("models:/swept@champion", 1, "nothing has been run here yet"),
        ("models:swept", 1, "nothing has been run here yet"),
        ("http://127.0.0.1:9", 1, "does not answer"),
        ("http://[", 2, "is no address"),
    ],
)
def test_no_model(
    model: str,
    code: int,
    message: str,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """What is no model is refused by name, with what would be accepted."""
    monkeypatch.chdir(tmp_path)
    assert run_command(monkeypatch, model, str(images / "a.png")) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert message in err


def test_a_damaged_checkpoint(
    checkpoint: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is named, without a traceback."""
    path = tmp_path / "half.safetensors"
    shutil.copy(checkpoint, path)
    path.write_bytes(path.read_bytes()[:5000])
    assert run_command(monkeypatch, str(path), str(images)) == 1
    assert f"error: {path}: is damaged" in capfd.readouterr().err
