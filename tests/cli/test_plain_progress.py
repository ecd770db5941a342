"""Progress on image sets where there is no terminal: lines that make sense in a log."""

from __future__ import annotations

import re
import time

import pytest

from tracker.cli.progress import shown
from tracker.vision.progress import Step


def test_a_log_hears_of_a_task_when_it_begins_and_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line where a task begins; then time, done of total, share and time left, at most every ten seconds."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # colours are not bars
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with shown() as show:
        for second in range(25):
            show(Step("download a.tar.gz", second * 5_000_000, 170_500_000, "bytes"))
            now[0] += 1
        show(Step("pack a", 0, 0, "images"))
        now[0] += 11
        show(Step("pack a", 12_000, 0, "images"))
        now[0] += 11
        show(Step("pack a", 24_000, 60_000, "images"))
    out, err = capsys.readouterr()
    assert out == ""
    assert "\x1b" not in err and "\r" not in err
    assert re.sub(r"^\d\d:\d\d:\d\d ", "TIME ", err, flags=re.MULTILINE).splitlines() == [
        "download a.tar.gz ...",
        "TIME download a.tar.gz: 50.0 of 170.5 MB (29 %), 0:24 left",
        "TIME download a.tar.gz: 100.0 of 170.5 MB (59 %), 0:14 left",
        "pack a ...",
        "TIME pack a: 12,000 images",
        "TIME pack a: 24,000 of 60,000 images (40 %), 0:33 left",
    ]
