"""The log of a server that runs for months: bounded, complete, shown as it grows."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from tracker.study.home import Home
from tracker.tracking.server import logs

ROOT = Path(__file__).resolve().parents[2]


def test_logs_are_turned_over_and_bounded(home: Home) -> None:
    """The newest older log is .1, the oldest goes; a short one stays as it is."""
    home.make(home.server)
    path = logs.log_path(home)
    for number in range(8):
        path.write_text(f"log {number}\n")
        assert logs.turn_over(path, largest=3) is True
    path.write_text("now\n")
    assert logs.turn_over(path, largest=100) is False
    assert sorted(file.name for file in home.server.iterdir()) == [
        "server.log",
        *(f"server.log.{n}" for n in range(1, 5)),
    ]
    assert logs.last_lines(home, 3) == ["log 6", "log 7", "now"]
    assert logs.last_lines(home, 0) == []
    assert logs.last_lines(home, 99) == ["log 4", "log 5", "log 6", "log 7", "now"]


def test_a_process_that_turns_its_own_log_over_loses_no_line(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 lines of two processes, through turns in the middle of the writing: each is there once, in order."""
    home.make(home.server)
    path = logs.log_path(home)
    script = f"""
import os, sys, time
from pathlib import Path
from tracker.tracking.server import logs
logs.GENERATIONS = 1000
logs.keep_bounded(Path({str(path)!r}), largest=5000, every=0.001)
for number in range(10_000):
    os.write(1 + number % 2, b"line %d\\n" % number)
    if number % 100 == 0: time.sleep(0.002)
"""
    output = logs.open_log(path)
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, stdout=output, stderr=output, check=True)
    os.close(output)
    monkeypatch.setattr(logs, "GENERATIONS", 1000)
    assert logs.last_lines(home, 20_000) == [f"line {number}" for number in range(10_000)]
    assert len(list(home.server.iterdir())) > 5
    assert path.stat().st_mode & 0o777 == 0o600


def test_following_a_log_goes_on_in_the_next_one(home: Home) -> None:
    """What is printed before and after a turn is shown once, in order, from where the following began."""
    home.make(home.server)
    path = logs.log_path(home)
    path.write_text("before\n")
    shown: list[str] = []

    def show() -> None:
        with closing(logs.follow(home, every=0.01)) as texts:
            for text in texts:
                shown.append(text)
                if "end" in text:
                    return

    reader = threading.Thread(target=show, daemon=True)
    reader.start()
    deadline = time.monotonic() + 20
    number = 0
    while not shown and time.monotonic() < deadline:  # until it has begun
        with path.open("a") as file:
            file.write(f"{number}\n")
        number += 1
        time.sleep(0.02)
    for _ in range(3):
        with path.open("a") as file:
            file.write(f"{number}\n")
            file.flush()
            logs.turn_over(path, largest=1)
            path.touch()
            file.write(f"{number + 1}\n")  # the process has not turned yet
        number += 2
        while f"{number - 1}\n" not in "".join(shown) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)  # a log of megabytes is not turned twice in one look
    with path.open("a") as file:
        file.write("end\n")
    reader.join(20)
    assert not reader.is_alive()
    text = "".join(shown)
    assert text.endswith(f"{number - 1}\nend\n")
    first = int(text.split()[0])
    assert text.split() == [str(each) for each in range(first, number)] + ["end"]


def test_a_quoted_log_shows_no_password(home: Home) -> None:
    """Whatever a driver prints of its address."""
    home.make(home.server)
    logs.log_path(home).write_text("cannot connect to postgresql://u:hunter2@h/d\n")
    assert logs.log_tail(home) == "    cannot connect to postgresql://h/d"
