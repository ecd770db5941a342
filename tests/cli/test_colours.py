"""Colours go to terminals that can show them; NO_COLOR, FORCE_COLOR and TERM=dumb are heard everywhere."""

from __future__ import annotations

import os
import pty
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tracker.cli import main as program
from tracker.ledger.ledger import Ledger
from tracker.study.failures import Failure
from tracker.study.home import Home
from tracker.study.load import parse_study

STUDY = {
    "name": "small",
    "question": "Which?",
    "recipe": {"model": "resnet18", "dataset": "digits"},
    "axes": {"normalization": ["pretrain", "minmax"]},
}
STYLED = re.compile(r"\x1b\[([0-9;]*)m")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home in which one cell is done and one failed, and with images of two classes."""
    folder = tmp_path_factory.mktemp("colours")
    with Ledger.local(Home(folder / "mlruns"), lease_seconds=600) as ledger:
        ledger.enroll(parse_study(STUDY, file="small.yaml"))
        done, failed = ledger.leases.claim("small", "host-1"), ledger.leases.claim("small", "host-1")
        assert done is not None and failed is not None
        ledger.leases.complete(done, {"best_acc": 0.5, "last_acc": 0.5}, "a-run", 1.0)
        ledger.leases.fail(failed, Failure("not-finite", "NotFinite", "loss is not finite"))
    pixels = np.random.default_rng(7)
    for split, label in [(split, label) for split in ("train", "test") for label in ("cat", "dog")]:
        (folder / "photos" / split / label).mkdir(parents=True)
        for number in range(2):
            image = Image.fromarray(pixels.integers(0, 255, (16, 16, 3), dtype=np.uint8))
            image.save(folder / "photos" / split / label / f"{number}.png")
    return folder


COMMANDS = {
    "doctor": ["doctor", "--device", "cpu"],
    "status": ["status", "--study", "small"],
    "compare": ["compare", "--published"],
    "stats": ["data", "stats"],
    "list": ["data", "list"],
    "look": ["advise", "photos", "--look", "--source", "random:resnet18"],
}
SLOW = ("compare", "look")
EACH = [pytest.param(name, marks=[pytest.mark.soak] if name in SLOW else []) for name in COMMANDS]
COLOURED = {"doctor", "status", "look"}
"""The others have bold and dim alone."""


class Screen:
    """What a command writes, to a real terminal or to a real pipe."""

    def __init__(self, terminal: bool) -> None:
        self._read, write = pty.openpty() if terminal else os.pipe()
        self.stream = open(write, "w", encoding="utf-8")  # noqa: SIM115
        self._parts: list[bytes] = []
        self._thread = threading.Thread(target=self._drain)
        self._thread.start()

    def _drain(self) -> None:
        while True:
            try:
                part = os.read(self._read, 65_536)
            except OSError:  # a terminal's other end is closed
                return
            if not part:
                return
            self._parts.append(part)

    def text(self) -> str:
        """Return all of it; nothing more is written."""
        self.stream.close()
        self._thread.join(30)
        os.close(self._read)
        return b"".join(self._parts).decode()


@pytest.fixture(autouse=True)
def plain(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No wish about colours but the test's own."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(place)
    yield


def shown(monkeypatch: pytest.MonkeyPatch, command: str, *, terminal: bool) -> str:
    """Run a command of this program; return what came to both of its streams."""
    out, err = Screen(terminal), Screen(terminal)
    monkeypatch.setattr(sys, "argv", ["tracker", *COMMANDS[command]])
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out.stream)
        patch.setattr(sys, "stderr", err.stream)
        with pytest.raises(SystemExit):
            program.main()
    return out.text() + err.text()


def colours(text: str) -> list[str]:
    """Return the codes that set a foreground or background colour."""
    codes = [code for codes in STYLED.findall(text) for code in codes.split(";")]
    return [code for code in codes if code.isdigit() and (30 <= int(code) < 50 or 90 <= int(code) < 108)]


@pytest.mark.parametrize("command", EACH)
def test_a_terminal_gets_styles_and_a_pipe_gets_text(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any wish: styles on a terminal, where a command has colours these too, and not one escape in a pipe."""
    on_terminal = shown(monkeypatch, command, terminal=True)
    assert STYLED.search(on_terminal)
    assert bool(colours(on_terminal)) == (command in COLOURED)
    piped = shown(monkeypatch, command, terminal=False)
    assert len(piped) > 100
    assert "\x1b" not in piped and "\r" not in piped


@pytest.mark.parametrize("command", EACH)
def test_no_color_takes_colours_away(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR wins on a terminal, over FORCE_COLOR too; empty it says nothing."""
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colours(shown(monkeypatch, command, terminal=True))
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not colours(shown(monkeypatch, command, terminal=False))


@pytest.mark.parametrize("command", EACH)
def test_a_dumb_terminal_gets_text(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """TERM=dumb: not one escape."""
    monkeypatch.setenv("TERM", "dumb")
    text = shown(monkeypatch, command, terminal=True)
    assert len(text) > 100
    assert "\x1b" not in text


@pytest.mark.parametrize("command", EACH)
def test_force_color_reaches_a_pipe(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """FORCE_COLOR gives a pipe the styles of a terminal, and nothing that moves a cursor."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = shown(monkeypatch, command, terminal=False)
    assert STYLED.search(text)
    assert "\x1b" not in STYLED.sub("", text) and "\r" not in text


def test_an_empty_no_color_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As no-color.org has it: present and not empty."""
    monkeypatch.setenv("NO_COLOR", "")
    assert colours(shown(monkeypatch, "doctor", terminal=True))
