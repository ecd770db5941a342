"""Image files to predictions: what is found, what cannot be read, and what a terminal is shown."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tests.deploy.swept import HOSTILE, SIZE, Swept
from tracker.deploy.opening import Opened, open_path
from tracker.deploy.predicting import Prediction, Unreadable, find_images, predict
from tracker.deploy.printing import csv_text, document, table
from tracker.study.errors import DataDamaged, DataMissing, UsageError
from tracker.vision.readers.pixels import decode


@pytest.fixture(scope="module")
def checkpoint(swept: Swept) -> Path:
    """A checkpoint on disk."""
    return next(swept.home.root.rglob("best.safetensors"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of several kinds, at several depths, among other things."""
    root = tmp_path_factory.mktemp("images")
    (root / "deep" / "er").mkdir(parents=True)
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (40, 90, 3), np.uint8)).save(root / "b colour.jpg")
    Image.fromarray(random.integers(0, 256, (32, 32), np.uint8)).save(root / "a gray.png")
    Image.fromarray(random.integers(0, 256, (9, 5, 4), np.uint8)).save(root / "deep" / "c é.PNG")
    Image.fromarray(random.integers(0, 65536, (70, 70)).astype(np.uint16)).save(root / "deep" / "er" / "d.tif")
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (root / ".hidden.png").write_bytes(b"")
    (root / "notes.txt").write_text("no image")
    (root / "deep" / "round").symlink_to(root)
    return root


def network_of(answers: list[float]) -> Opened:
    """A network that gives every image these probabilities."""
    return Opened("fake", HOSTILE, 1, SIZE, lambda images: np.tile(answers, (len(images), 1)), batch=2)


def test_folders_are_searched(folder: Path) -> None:
    """Files by name at any depth; hidden ones and other kinds passed over; a link that goes round is followed once."""
    found = list(find_images([str(folder)]))
    names = [os.path.relpath(each, folder) for each in found if isinstance(each, str)]
    assert names == ["a gray.png", "b colour.jpg", "broken.jpg", "deep/c é.PNG", "deep/er/d.tif"]


def test_what_is_not_there(tmp_path: Path) -> None:
    """A missing file, an empty folder, a pipe and a dangling link each come back with a reason, and block nothing."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    paths = [str(tmp_path / name) for name in ("missing.png", "pipe.png", "dangling.png", "empty")]
    found = [each.reason for each in find_images(paths) if isinstance(each, Unreadable)]
    assert found[:3] == ["there is no such file", "is no file", "is no file"]
    assert found[3].startswith("a folder without images")


def test_predictions_in_order_and_reasons(checkpoint: Path, folder: Path) -> None:
    """Every readable image is predicted, in order, with what the network makes of the reader's bytes."""
    network = open_path(checkpoint)
    assert (network.channels, network.image_size, network.classes) == (1, SIZE, HOSTILE)
    found = list(predict(network, [str(folder)], top=5))
    unreadable = [each for each in found if isinstance(each, Unreadable)]
    assert [Path(each.image).name for each in unreadable] == ["broken.jpg"]
    predictions = [each for each in found if isinstance(each, Prediction)]
    assert len(predictions) == 4
    for each in predictions:
        wanted = network.run(decode(each.image, 1, SIZE)[None])[0]
        order = np.argsort(-wanted, kind="stable")
        assert [name for name, _ in each.top] == [HOSTILE[place] for place in order]
        np.testing.assert_allclose([value for _, value in each.top], wanted[order], atol=1e-5)


def test_batches_do_not_lose_images(folder: Path) -> None:
    """With batches of two all five come out, the unreadable one in its place; --top is cut at K."""
    found = list(predict(network_of([0.1, 0.2, 0.4, 0.2, 0.1]), [str(folder), str(folder / "a gray.png")], top=2))
    assert [isinstance(each, Unreadable) for each in found] == [False, False, True, False, False, False]
    assert isinstance(found[0], Prediction)
    assert found[0].top == ((HOSTILE[2], 0.4), (HOSTILE[1], 0.2))


def test_hostile_names_do_no_harm() -> None:
    """No control character reaches a terminal or a line of CSV, no formula a spreadsheet, no markup is obeyed."""
    found = [Prediction("a\x1b[2Jb.png", tuple((name, 0.2) for name in (*HOSTILE, "[red]x[/red]")))]
    console = Console(file=io.StringIO(), width=200)
    console.print(table(found))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert "\x1b" not in shown
    assert "[red]x[/red]" in shown
    assert "six\\x1b[31m" in shown
    text = csv_text(found)
    assert "\x1b" not in text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == text.count("\n") - 1 == 6
    assert [row["class"] for row in rows][3] == "'=2+3"
    plain = json.dumps(document(network_of([1, 0, 0, 0, 0]), found, [Unreadable("x\n", "y")]))
    assert "\x1b" not in plain
    assert json.loads(plain)["predictions"][0]["top"][1]["class"] == HOSTILE[1], "JSON holds the names themselves"


def test_what_is_no_model(tmp_path: Path) -> None:
    """A missing path, another file, a folder of something else, a damaged export: each is refused by name."""
    with pytest.raises(UsageError, match="there is no such model"):
        open_path(tmp_path / "nowhere")
    (tmp_path / "image.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"is no model\n  accepted: a folder written by `tracker export`"):
        open_path(tmp_path / "image.png")
    with pytest.raises(DataMissing, match="is no export"):
        open_path(tmp_path)
    for text in ("{", "[]", '{"layout": "other"}', '{"layout": "tracker export 1", "format": "torch"}'):
        (tmp_path / "model.json").write_text(text)
        with pytest.raises(DataDamaged, match=r"model\.json: cannot be read"):
            open_path(tmp_path)
    said = {
        "layout": "tracker export 1",
        "format": "torch",
        "classes": ["a", "b"],
        "input": {"shape": ["N", 1, "H", "W"], "image_size": 8},
    }
    (tmp_path / "model.json").write_text(json.dumps(said))
    with pytest.raises(DataDamaged, match=r"has no model\.pt2"):
        open_path(tmp_path)
    (tmp_path / "model.pt2").write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(DataDamaged, match=r"model\.pt2: cannot be read"):
        open_path(tmp_path)
    (tmp_path / "x.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(DataDamaged, match="is damaged"):
        open_path(tmp_path / "x.safetensors")
