"""Rules of `tracker export`: the folder it writes, what it says, and what it refuses."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from tests.deploy.swept import HOSTILE, Swept, shared_sweep
from tracker.cli.export import export
from tracker.cli.main import main
from tracker.deploy.exporting import FORMATS
from tracker.study.home import Home
from tracker.study.metrics import RANKING_METRICS

ALONE = """
import re, sys
sys.modules["tracker"] = None  # as on a machine without it
text = open("README.md").read()
(code,) = re.findall(r"^```python\\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
exec(code)
"""
"""Runs what an export's README tells to type, in its folder."""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """A home with a study whose cells kept their best checkpoint."""
    return shared_sweep(tmp_path_factory)


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command as the program does, with its handling of errors; return the exit code."""
    monkeypatch.setattr(sys, "argv", ["tracker", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)


@pytest.fixture(scope="module")
def exported(swept: Swept, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The best of the study in both formats that need no server: their folder, stdout and stderr of the first.

    The first replaces a damaged export.
    """
    folder = tmp_path_factory.mktemp("exports")
    (folder / "torch").mkdir()
    for name in ("model.json", "stale"):  # a damaged export, to be replaced
        (folder / "torch" / name).write_text("{")
    said = {}
    with pytest.MonkeyPatch.context() as patch:
        for form in ("torch", "onnx"):
            out, err = StringIO(), StringIO()
            arguments = ["--study", "swept", "-o", str(folder / form), "--format", form, "--home", str(swept.home.root)]
            arguments += ["--overwrite"] if form == "torch" else []
            with redirect_stdout(out), redirect_stderr(err):
                assert run_command(patch, "export", *arguments) == 0, err.getvalue()
            said[form] = out.getvalue(), err.getvalue()
    return folder, *said["torch"]


def test_what_is_said(exported: tuple[Path, str, str]) -> None:
    """stdout is the folder alone; stderr has the choice with its n, the optimism, and the measured differences."""
    folder, out, err = exported
    assert out == f"{folder / 'torch'}\n"
    for part in (
        "mean 85.00 %, n = 2 seeds",
        "seed=2, the highest. It was picked on the test images",
        "verified on 40 test images of five: largest difference of a probability",
        "same class for 40 of 40",
        "resized by the export and by Pillow",
        "class that the sweep predicted: 40 of 40",
    ):
        assert part in err, err
    assert "Warning" not in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("form", "file"), [("torch", "model.pt2"), ("onnx", "model.onnx")])
def test_the_folder_is_complete(
    form: str, file: str, exported: tuple[Path, str, str], swept: Swept, tmp_path: Path
) -> None:
    """Three files and no more, nothing of this machine in them; model.json says what is known, with n and rule."""
    folder = exported[0] / form
    assert sorted(path.name for path in folder.iterdir()) == sorted(["README.md", "model.json", file])
    text = (folder / "model.json").read_text()
    said = json.loads(text)
    assert said["classes"] == list(HOSTILE)
    assert said["input"]["shape"] == ["N", 1, "H", "W"]
    assert (said["input"]["image_size"], said["input"]["shift"]) == (32, "as-is")
    cell = swept.cell("finetune", 2)
    assert (said["study"], said["cell"], said["cell_id"]) == ("swept", cell.name, cell.id)
    assert said["run_id"] in {run.run_id for run in swept.runs() if run.cell_id == cell.id}
    assert said["normalization"]["mean"] == pytest.approx([0.307], abs=0.01)
    assert (said["accuracy"]["value"], said["accuracy"]["test_images"]) == (pytest.approx(0.9), 40)
    assert "optimistic" in said["accuracy"]["rule"]
    assert said["verification"]["same_class"] == 40
    assert said["versions"]["torch"]
    for path in folder.iterdir():
        assert str(swept.home.root).encode() not in path.read_bytes(), path.name
    readme = (folder / "README.md").read_text()
    assert "\x1b" not in readme
    assert "onload" not in readme


@pytest.mark.parametrize("form", ["torch", "onnx"])
def test_the_readme_works_without_this_program(form: str, exported: tuple[Path, str, str]) -> None:
    """What the README tells to type predicts an image, in a process in which tracker cannot be imported."""
    folder = exported[0] / form
    image = folder / "image.png"
    Image.fromarray(np.arange(48 * 60, dtype=np.uint16).reshape(48, 60).astype(np.uint8)).save(image)
    try:
        done = subprocess.run(
            [sys.executable, "-c", ALONE], cwd=folder, capture_output=True, text=True, check=False, timeout=120
        )
    finally:
        image.unlink()
    assert done.returncode == 0, done.stderr
    probability, name = eval(done.stdout, {"__builtins__": {}})  # noqa: S307 - the tuple that was printed
    assert 0.2 <= probability <= 1
    assert name in HOSTILE


def test_onnx_is_valid_and_carries_its_description(exported: tuple[Path, str, str]) -> None:
    """The checker finds nothing; names, dynamic shape and metadata are in the file itself."""
    model = onnx.load(exported[0] / "onnx" / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    (given,), (found,) = model.graph.input, model.graph.output
    assert (given.name, found.name) == ("images", "probabilities")
    dims = given.type.tensor_type.shape.dim
    assert [bool(dim.dim_param) for dim in dims] == [True, False, True, True]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["model.json"])["classes"] == list(HOSTILE)


def test_a_taken_folder(
    exported: tuple[Path, str, str],
    swept: Swept,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A folder that is not empty is left alone; with --overwrite too, unless it holds an export."""
    arguments = ["export", "--study", "swept", "--home", str(swept.home.root), "-o"]
    before = (exported[0] / "torch" / "model.json").read_bytes()
    assert run_command(monkeypatch, *arguments, str(exported[0] / "torch")) == 2
    assert "--overwrite" in capfd.readouterr().err
    assert (exported[0] / "torch" / "model.json").read_bytes() == before
    (tmp_path / "diary.txt").write_text("dear")
    assert run_command(monkeypatch, *arguments, str(tmp_path), "--overwrite") == 2
    assert "holds something else than an export" in capfd.readouterr().err
    assert run_command(monkeypatch, *arguments, str(tmp_path / "diary.txt"), "--overwrite") == 2
    assert "is no folder" in capfd.readouterr().err
    assert (tmp_path / "diary.txt").read_text() == "dear"


def test_what_fails_on_the_way_leaves_nothing(
    swept: Swept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An earlier export stays as it was, and neither beside it nor in the home is a trace of the attempt."""
    folder = tmp_path / "winner"
    folder.mkdir()
    (folder / "model.json").write_text("{")

    def fill_the_disk(pipeline: object, channels: int, facts: str, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tracker.deploy.exporting.save_torch", fill_the_disk)
    arguments = ["export", "--study", "swept", "--home", str(swept.home.root), "--overwrite"]
    for target in (folder, tmp_path / "new"):
        assert run_command(monkeypatch, *arguments, "-o", str(target)) == 1
        assert f"error: {target}: cannot be written: No space left on device" in capfd.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["model.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["winner"]
    assert not list(swept.home.work.glob("export-*"))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--study", "nosuch"], 1, "no study 'nosuch'"),
        (["--study", "no/such.yaml"], 2, "there is no such study file"),
        (["--study", "swept", "--cell", "abcdefabcdef"], 2, "has no cell 'abcdefabcdef'"),
        (["--study", "swept", "--where", "dataset"], 2, "accepted: KEY=VALUE"),
        (["--study", "swept", "--where", "dataset=cifar10"], 2, "accepted: five"),
        (["--study", "swept", "--metric", "selected_acc"], 2, "val_fraction"),
        (["--study", "swept", "--format", "keras"], 2, "'torch', 'onnx', 'mlflow'"),
    ],
)
def test_errors(
    arguments: list[str],
    code: int,
    message: str,
    swept: Swept,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Wrong usage is exit 2, what is not there exit 1; stdout stays empty and nothing is written."""
    target = tmp_path / "winner"
    arguments = ["export", *arguments, "-o", str(target), "--home", str(swept.home.root)]
    assert run_command(monkeypatch, *arguments) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert message in err
    assert not target.exists()


def test_an_empty_home_and_a_missing_package(
    home: Home, swept: Swept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where nothing was swept, and where onnx is not installed, the error says what to do."""
    for form in ("torch", "mlflow"):
        arguments = ["export", "--study", "x", "-o", str(tmp_path / "a"), "--home", str(home.root), "--format", form]
        assert run_command(monkeypatch, *arguments) == 1
        assert "tracker sweep --study" in capfd.readouterr().err
    monkeypatch.setattr("tracker.deploy.pipeline.find_spec", lambda name: None)
    arguments = ["export", "--study", "swept", "-o", str(tmp_path / "a"), "--home", str(swept.home.root)]
    assert run_command(monkeypatch, *arguments, "--format", "onnx") == 1
    assert "pip install 'norm-tracker[onnx]'" in capfd.readouterr().err
    assert not (tmp_path / "a").exists()


def test_choices_are_the_ones_there_are() -> None:
    """The command, which imports nothing heavy, offers exactly the formats and metrics there are."""
    choices = {each.name: tuple(getattr(each.type, "choices", ())) for each in export.params}
    assert choices["form"] == FORMATS
    assert choices["metric"] == RANKING_METRICS
