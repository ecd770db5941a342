"""The same answers from every form of an export, a real `mlflow models serve` among them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.deploy.swept import HOSTILE, Swept
from tracker.cli.main import main
from tracker.deploy.opening import opened
from tracker.deploy.predicting import Prediction, predict
from tracker.study.errors import TrackerError
from tracker.study.home import Home
from tracker.tracking.client import connect

READY_SECONDS = 120


@contextmanager
def served(folder: Path, log: Path) -> Iterator[str]:
    """Serve an export on this machine as its README says; end the server and what it started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", ".", "--env-manager", "local"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # it starts uvicorn by name
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "PATH": path},
        )
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + READY_SECONDS
        while not answers(f"{address}/ping"):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(address: str) -> bool:
    """Say whether a server is ready."""
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


def ask(address: str, inputs: object) -> list[dict[str, object]]:
    """Ask a server as curl would."""
    body = json.dumps({"inputs": inputs}).encode()
    request = urllib.request.Request(  # noqa: S310
        f"{address}/invocations", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        found: list[dict[str, object]] = json.load(answer)["predictions"]
        return found


def images_in(folder: Path) -> Path:
    """Digits in colour, in gray and sideways, of several sizes."""
    digits = load_digits().images[[5, 16, 7, 8, 9]] * (255 / 16)  # (5, 8, 8)
    folder.mkdir()
    for number, (width, height) in enumerate([(32, 32), (70, 41), (33, 90), (200, 120), (8, 8)]):
        image = Image.fromarray(digits[number].astype(np.uint8)).resize((width, height))
        exif = Image.Exif()
        exif[0x0112] = 6 if number == 1 else 1
        (image.convert("RGB") if number % 2 else image).save(folder / f"{number}.png", exif=exif)
    return folder


def answers_of(where: str, home: Home, images: Path) -> list[tuple[str, list[float]]]:
    """Each image's class and the probabilities of all classes, in the order of the classes."""
    with opened(where, home) as network:
        assert network.classes == HOSTILE
        found = list(predict(network, [str(images)], top=5))
    assert len(found) == 5
    lines = []
    for each in found:
        assert isinstance(each, Prediction)
        lines.append((each.top[0][0], [dict(each.top)[name] for name in HOSTILE]))
    return lines


def export_command(swept: Swept, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run `tracker export --format mlflow` against the home's own MLflow store."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", swept.uri)
    arguments = ["--study", "swept", "--format", "mlflow", "-o", str(folder), "--home", str(swept.home.root)]
    monkeypatch.setattr(sys, "argv", ["tracker", "export", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code


@pytest.mark.soak
def test_all_forms_answer_alike(
    swept: Swept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A folder, its checkpoint, the registered champion and a real server give the same classes and probabilities.

    The server takes what curl would send and refuses what is no image; nothing in the export is a
    pickle or names a path of this machine.
    """
    images, home, folder = images_in(tmp_path / "images"), swept.home, tmp_path / "winner"
    export_command(swept, folder, monkeypatch)
    out, err = capfd.readouterr()
    assert out == f"{folder}\n"
    assert "registered as swept version 1, alias champion\n" in err
    assert f"mlflow models serve -m {folder}" in err
    description = json.loads((folder / "model.json").read_text())
    version = connect(swept.uri).get_model_version_by_alias("swept", "champion")
    assert version.run_id == description["run_id"]
    assert "90.00 %, n = 40 test images, best epoch" in version.description
    for path in folder.rglob("*"):
        assert path.suffix not in (".pkl", ".pickle")
        if path.is_file():
            assert str(home.root).encode() not in path.read_bytes(), path.name
    wanted = answers_of(str(folder), home, images)
    assert len({name for name, _ in wanted}) > 1
    others = {"registered": answers_of("models:/swept@champion", home, images)}
    (kept,) = (path for path in home.root.rglob("best.safetensors") if description["run_id"] in path.parts)
    others["checkpoint"] = answers_of(str(kept), home, images)
    with served(folder, tmp_path / "serve.log") as address:
        others["served"] = answers_of(address, home, images)
        pixel = np.arange(2 * 9 * 7, dtype=np.uint8).reshape(2, 1, 9, 7).tolist()
        by_name, bare = ask(address, {"images": pixel}), ask(address, pixel)
        assert by_name == bare
        assert [sorted(row) for row in by_name] == [["class", "probabilities", "probability"]] * 2
        assert set(by_name[0]["probabilities"]) == set(HOSTILE)  # type: ignore[call-overload]
        for wrong in ([[[[256]]]], [[[[-1]]]], [[["a"]]], [[[0]]]):
            with pytest.raises(urllib.error.HTTPError):
                ask(address, {"images": wrong})
        with pytest.raises(TrackerError, match="refused with 404"):
            answers_of(f"{address}/elsewhere", home, images)
    for what, found in others.items():
        assert [name for name, _ in found] == [name for name, _ in wanted], what
        np.testing.assert_allclose([row for _, row in found], [row for _, row in wanted], atol=1e-6, err_msg=what)
