"""Messages in the docs are those of the code: what the page says is printed is printed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.docs.templates import said, templates
from tracker.cli import main as program

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
SAID_BY_OTHERS = ("Error: Invalid value for",)
"""Beginnings that are click's."""
STUDY = """
question: Which?
datasets: {{photos: {{kind: folder, path: {folder}}}}}
recipe: {{model: resnet18, dataset: photos}}
axes: {{normalization: [pretrain, minmax]}}
"""
NEEDS = {"tracker sweep --study quickstart --device cuda": not torch.cuda.is_available()}
"""What a message needs of the machine."""


def blocks(page: Path) -> list[list[str]]:
    """Return the text blocks of a page that show an error, as lines."""
    found = re.findall(r"^```text\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [text.splitlines() for text in found if re.search(r"^[eE]rror: ", text, flags=re.MULTILINE)]


TROUBLE = blocks(DOCS / "troubleshooting.md")
PRODUCED = {lines[0].removeprefix("$ "): lines[1:] for lines in TROUBLE if lines[0].startswith("$ ")}


def parts(line: str) -> Iterator[str]:
    """Yield what of a line may be a text of the code: all of it, then without what is put before it."""
    text = re.sub(r"^(error: |cure: |accepted: |- )", "", line.strip())
    yield line.strip()
    while text:
        yield text
        _, _, text = text.partition(": ")


def test_every_message_is_in_the_code() -> None:
    """Each line of an error that a page quotes is a text of the code with values put in."""
    looked_at = 0
    for page in PAGES:
        for lines in (block for block in blocks(page) if not block[0].startswith("$ ")):  # those are run, below
            for line in lines:
                if line.startswith(SAID_BY_OTHERS) or re.fullmatch(r"\s+recipe\.\w+: .* -> .*", line):
                    continue
                looked_at += 1
                assert any(said(part) for part in parts(line)), f"{page.name}: no code says: {line}"
    assert looked_at > 40
    assert len(TROUBLE) >= 35


def test_what_no_code_says_is_found() -> None:
    """The check above can fail."""
    assert len(templates()) > 1000
    for line in (
        "error: the moon is in the wrong place",
        "  cure: tracker sweep --nosuch",
        "error: quickstart: is green",
    ):
        assert not any(said(part) for part in parts(line)), line


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the page's commands run in: studies and images with something wrong each."""
    pixels = np.random.default_rng(5)
    folders = {"one-class": ["cat"], "broken": ["cat", "dog"], "oblong": ["cat", "dog"], "photos": ["cat", "dog"]}
    for folder, classes in folders.items():
        size = (16, 20) if folder == "oblong" else (16, 16)
        for name in classes:
            (tmp_path / folder / name).mkdir(parents=True)
            for number in range(4):
                image = Image.fromarray(pixels.integers(0, 255, (*size, 3), dtype=np.uint8))
                image.save(tmp_path / folder / name / f"{number}.png")
        (tmp_path / f"{folder}.yaml").write_text(STUDY.format(folder=folder))
    (tmp_path / "broken" / "cat" / "broken.png").write_text("no image")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file.txt").write_text("of somebody else")
    small = "question: Q\nrecipe: {{model: resnet18, dataset: digits{lr}}}\naxes: {{normalization: {names}}}\n"
    (tmp_path / "lr.yaml").write_text(small.format(lr=", lr: 1e-3", names="[pretrain]"))
    (tmp_path / "normalization.yaml").write_text(small.format(lr="", names="[pretrain, instnace]"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))  # no weights of this machine
    return tmp_path


@pytest.mark.parametrize("command", PRODUCED)
def test_the_page_shows_what_the_command_prints(
    command: str, trouble: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command of the page fails with the message below it, line by line; `...` stands for anything."""
    if not NEEDS.get(command, True):
        pytest.skip("this machine has what the message says is missing")
    monkeypatch.setattr(sys, "argv", command.split())
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code in (1, 2)
    printed = capsys.readouterr().err.splitlines()
    for line in PRODUCED[command]:
        pattern = re.compile(re.escape(line).replace(re.escape("..."), ".*"))
        assert any(pattern.fullmatch(each) for each in printed), (line, printed)
    assert len(PRODUCED) >= 18
