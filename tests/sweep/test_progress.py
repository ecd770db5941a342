"""What a sweep shows, and when it says it will end."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from tracker.sweep.events import (
    CellDone,
    CellFailed,
    CellReleased,
    CellResumed,
    CellStarted,
    EpochDone,
    Event,
    MlflowAway,
    Notice,
    WorkerEnded,
    WorkerHeld,
    WorkerLeft,
)
from tracker.sweep.progress import BarDisplay, LineDisplay, Pace, Tally, clock, make_display


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"), (0, "0:00"), (-3, "0:00"), (59.6, "1:00"), (61, "1:01"), (3600, "1:00:00"), (11110, "3:05:10"),
        (48 * 3600, "2.0 days"), (273.4 * 86400, "273.4 days"),
    ],
)  # fmt: skip
def test_durations_read_as_people_say_them(seconds: float | None, text: str) -> None:
    """Minutes and seconds, then hours, then days."""
    assert clock(seconds) == text


def started(cell: str) -> CellStarted:
    """Return the start of a cell of ten epochs."""
    return CellStarted("w", cell, f"name of {cell}", 10, 1)


def epoch(cell: str, number: int, seconds: float) -> EpochDone:
    """Return the end of an epoch."""
    return EpochDone(cell, f"name of {cell}", number, 10, 0.5, 0.6, seconds)


def done(cell: str, seconds: float) -> CellDone:
    """Return the end of a cell."""
    return CellDone(cell, f"name of {cell}", {"best_acc": 0.75, "last_acc": 0.5}, seconds)


def test_time_left_is_unknown_before_the_first_epoch() -> None:
    """Nothing is guessed."""
    assert Tally(total=3).remaining() is None


def test_time_left_comes_from_epochs_then_from_cells() -> None:
    """A running cell costs its remaining epochs, a waiting one the mean of those that are done."""
    tally = Tally(total=3)
    tally.add(started("a"))
    tally.add(epoch("a", 0, 2.0))
    assert tally.remaining() == 9 * 2.0 + 2 * 20.0
    tally.add(done("a", 30.0))
    assert tally.remaining() == 2 * 30.0
    tally.add(started("b"))
    tally.add(epoch("b", 4, 1.0))
    assert tally.remaining() == 5 * 1.0 + 30.0
    tally.add(CellFailed("b", "b", "not-finite", "NotFinite", "nan"))
    assert tally.remaining() == 30.0
    tally.add(done("c", 10.0))
    assert tally.remaining() == 0.0


def test_workers_share_the_time_left() -> None:
    """Two workers take half as long, until one of them ends."""
    tally = Tally(total=5)
    for worker in ("w-1", "w-2"):
        tally.add(CellStarted(worker, f"cell of {worker}", "name", 10, 1))
    tally.add(done("cell of w-1", 10.0))
    assert tally.remaining() == 4 * 10.0 / 2
    tally.add(WorkerEnded("w-2", -9))
    assert tally.remaining() == 4 * 10.0


EVENTS: list[Event] = [
    started("a"),
    epoch("a", 0, 2.0),
    Notice("[bold]brackets[/] stay"),
    done("a", 30.0),
    CellFailed("b", "name of b", "not-finite", "NotFinite", "train_loss is nan"),
    CellFailed("d", "name of d", "out-of-memory", "OutOfMemoryError", "no room", again_in=70.0),
    CellResumed("d", "name of d", 3, 10, "the artifact store"),
    CellReleased("c", "name of c", "the study is paused by me"),
    WorkerHeld("w-3", "the disk is full"),
    WorkerHeld("w-3", None),
    WorkerLeft("w-4", "cuda:1", "device"),
    MlflowAway("w-1", 4),
    MlflowAway("w-2", 2),
    MlflowAway("w-1", 0),
    MlflowAway("w-2", 0),
    WorkerEnded("w-1", -9),
    WorkerEnded("w-2", 0),
]


@pytest.mark.parametrize("terminal", [False, True])
def test_what_matters_is_said_on_terminals_and_in_logs(terminal: bool) -> None:
    """Cells that end, failures, deaths and notices leave a line, bars or not; what goes well silently does not."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=140, no_color=True)
    with make_display(console, total=3, what="sweep") as display:
        for event in EVENTS:
            display.show(event)
            if terminal and isinstance(event, EpochDone):
                time.sleep(0.3)  # bars are drawn ten times a second
    text = out.getvalue()
    assert "[1/3] name of a: best_acc 75.00%, last_acc 50.00%, 0:30" in text
    assert "[2/3] name of b: FAILED (not-finite, NotFinite): train_loss is nan" in text
    assert "name of d: an attempt failed (out-of-memory, OutOfMemoryError): no room; again in 1:10" in text
    assert "name of d: goes on after epoch 3/10 (state from the artifact store)" in text
    assert "name of c: given back where it stands (the study is paused by me)" in text
    assert "worker w-3 waits: the disk is full" in text
    assert "worker w-3 goes on" in text
    assert "worker w-4 leaves cuda:1: the device failed" in text
    assert text.count("MLflow does not answer") == 1
    assert text.count("MLflow has everything again") == 1
    assert "[bold]brackets[/] stay" in text
    assert "worker w-1 died (killed by signal 9)" in text
    assert "w-2" not in text
    assert ("name of a" in text and "test_acc 50.00% ETA 0:18" in text) or not terminal


def test_the_bar_says_how_many_results_wait() -> None:
    """While MLflow is away the overall bar counts what every worker holds back."""
    tally = Tally(total=2)
    assert tally.note == "cells"
    tally.add(MlflowAway("a", 3))
    tally.add(MlflowAway("b", 2))
    assert "5 results wait" in tally.note
    tally.add(MlflowAway("a", 0))
    tally.add(MlflowAway("b", 0))
    assert tally.note == "cells"


def test_an_attempt_that_is_tried_again_is_not_counted_as_failed() -> None:
    """Only a cell that has used up its attempts counts."""
    tally = Tally(total=2)
    tally.add(CellFailed("a", "a", "lost-worker", "WorkerLost", "gone", again_in=5.0))
    assert tally.failed == 0
    tally.add(CellFailed("a", "a", "lost-worker", "WorkerLost", "gone"))
    assert tally.failed == 1


def test_a_log_gets_no_control_characters() -> None:
    """Without a terminal there is nothing but lines."""
    out = io.StringIO()
    with make_display(Console(file=out, width=80), total=1, what="sweep") as display:
        for event in EVENTS:
            display.show(event)
    assert "\x1b" not in out.getvalue()
    assert "\r" not in out.getvalue()


def test_lines_of_a_log_say_when_and_how_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line begins with the time of day, then done/total; epochs are told only where it is long since the last."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    out = io.StringIO()
    with make_display(Console(file=out, width=80), total=2, what="sweep") as display:
        display.show(started("a"))
        for number in range(9):
            display.show(epoch("a", number, 4.0))
            now[0] += 4.0
        display.show(done("a", 40.0))
    lines = out.getvalue().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d \[[01]/2\] name of a: ", line) for line in lines)
    assert [line.partition(": ")[2] for line in lines] == [
        "epoch 4/10, test_acc 50.00%, ETA of the sweep 1:04",
        "epoch 7/10, test_acc 50.00%, ETA of the sweep 0:52",
        "best_acc 75.00%, last_acc 50.00%, 0:40, ETA 0:40",
    ]


def test_a_log_of_a_night_stays_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every 10 seconds in the first five minutes, once a minute after that."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pace, told = Pace(), []
    while now[0] < 3600:
        now[0] += 1
        if pace.due():
            pace.told()
            told.append(now[0])
    assert told[:3] == [10, 20, 30]
    assert told[-1] - told[-2] == 60
    assert len(told) == 29 + 55


@pytest.mark.parametrize(
    ("terminal", "term", "bars"), [(True, "xterm", True), (True, "dumb", False), (False, "xterm", False)]
)
def test_bars_need_a_terminal_that_can_be_drawn_over(
    terminal: bool, term: str, bars: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dumb terminal gets the lines of a log, and so does a pipe that FORCE_COLOR gives colours."""
    monkeypatch.setenv("TERM", term)
    monkeypatch.delenv("TTY_INTERACTIVE", raising=False)
    console = Console(file=io.StringIO(), force_terminal=True, force_interactive=None if terminal else False)
    assert isinstance(make_display(console, total=1, what="sweep"), BarDisplay if bars else LineDisplay)
