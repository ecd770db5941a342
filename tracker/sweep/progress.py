"""What a sweep shows while it runs: bars on a terminal, plain lines elsewhere. On stderr: stdout is for results."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

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


class Display(Protocol):
    """Something that shows a sweep."""

    def __enter__(self) -> Display: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, event: Event) -> None:
        """Show one event."""


@dataclass
class Tally:
    """What is known of a sweep's pace.

    Args:
        total: cells to do in this sweep.
        workers: those that have begun a cell and not ended: how many cells run at once.
    """

    total: int
    workers: set[str] = field(default_factory=set)
    done: int = 0
    failed: int = 0
    started: float = field(default_factory=time.monotonic)
    cell_seconds: list[float] = field(default_factory=list)
    epoch_seconds: dict[str, tuple[int, int, float]] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)
    away: bool = False

    @property
    def note(self) -> str:
        """What stands beside the count of cells."""
        waiting = sum(self.pending.values())
        return f"cells [yellow](MLflow is away, {waiting} results wait)[/]" if waiting else "cells"

    def add(self, event: Event) -> None:
        """Take one event into account."""
        if isinstance(event, CellDone | CellFailed | CellReleased):
            self.epoch_seconds.pop(event.cell_id, None)
        if isinstance(event, CellStarted):
            self.workers.add(event.worker)
        elif isinstance(event, WorkerEnded):
            self.workers.discard(event.worker)
        elif isinstance(event, CellDone):
            self.done += 1
            self.cell_seconds.append(event.seconds)
        elif isinstance(event, CellFailed):
            self.failed += event.again_in is None
        elif isinstance(event, MlflowAway):
            self.pending[event.worker] = event.pending
        elif isinstance(event, EpochDone):
            self.epoch_seconds[event.cell_id] = (event.epochs - event.epoch - 1, event.epochs, event.seconds)

    def remaining(self) -> float | None:
        """Return the seconds left, from what cells and epochs took so far; None before the first epoch.

        Cells that have not begun are taken to cost what a cell cost on average.
        """
        running = [left * seconds for left, _, seconds in self.epoch_seconds.values()]
        waiting = self.total - self.done - self.failed - len(running)
        if self.cell_seconds:
            per_cell = sum(self.cell_seconds) / len(self.cell_seconds)
        elif running:
            per_cell = max(epochs * seconds for _, epochs, seconds in self.epoch_seconds.values())
        else:
            return None
        return (sum(running) + waiting * per_cell) / max(1, len(self.workers))


def say_on(console: Console) -> Callable[[str], None]:
    """Return what prints a sentence as it is, brackets and all."""

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    return say


def clock(seconds: float | None) -> str:
    """Return a duration as people say it: `0:42`, `3:05:10`, `12.5 days`, `-` when unknown."""
    if seconds is None:
        return "-"
    whole = max(0, round(seconds))
    if whole >= 48 * 3600:
        return f"{whole / 86400:,.1f} days"
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Left(ProgressColumn):
    """Time left: the sweep's from its tally, a cell's from its last epoch."""

    def render(self, task: Task) -> Text:
        return Text(f"ETA {clock(task.fields['eta'])}", style="cyan")


class BarDisplay:
    """An overall bar, and one line for each running cell with epoch, accuracy and time left."""

    def __init__(self, console: Console, tally: Tally, what: str) -> None:
        self._say = say_on(console)
        self._tally = tally
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            _Left(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._overall = self._progress.add_task(f"[bold]{what}", total=tally.total, note="cells", eta=None)
        self._cells: dict[str, int] = {}

    def __enter__(self) -> BarDisplay:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, event: Event) -> None:
        """Show one event."""
        self._tally.add(event)
        if isinstance(event, CellStarted):
            task = self._progress.add_task(f"  {event.name}", total=event.epochs, note="epochs", eta=None)
            self._cells[event.cell_id] = task
        elif isinstance(event, CellResumed) and event.cell_id in self._cells:
            self._progress.update(self._cells[event.cell_id], completed=event.done)  # type: ignore[arg-type]
        elif isinstance(event, EpochDone) and event.cell_id in self._cells:
            self._progress.update(
                self._cells[event.cell_id],  # type: ignore[arg-type]
                completed=event.epoch + 1,
                note=f"test_acc {event.test_acc:.2%}",
                eta=(event.epochs - event.epoch - 1) * event.seconds,
            )
        elif isinstance(event, CellDone | CellFailed | CellReleased):
            task_id = self._cells.pop(event.cell_id, None)
            if task_id is not None:
                self._progress.remove_task(task_id)  # type: ignore[arg-type]
        line = _line(event, self._tally)
        if line is not None:
            self._say(line)
        self._progress.update(
            self._overall,
            completed=self._tally.done + self._tally.failed,
            note=self._tally.note,
            eta=self._tally.remaining(),
        )


class Pace:
    """How often a log hears of what goes on: every 10 seconds at first, once a minute after the first five."""

    OFTEN, SELDOM = 10.0, 60.0
    AT_FIRST = 300.0

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()

    def due(self) -> bool:
        """Say whether it is time for a line."""
        now = time.monotonic()
        return now - self._last >= (self.OFTEN if now - self._began < self.AT_FIRST else self.SELDOM)

    def told(self) -> None:
        """Take note that there was one."""
        self._last = time.monotonic()


class LineDisplay:
    """A plain line a cell, and one for epochs where it is long since the last; with the time, for logs and pipes."""

    def __init__(self, console: Console, tally: Tally) -> None:
        self._say = say_on(console)
        self._tally = tally
        self._pace = Pace()

    def __enter__(self) -> LineDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def show(self, event: Event) -> None:
        """Show one event."""
        self._tally.add(event)
        line = _line(event, self._tally)
        if line is None and isinstance(event, EpochDone) and self._pace.due():
            line = (
                f"{_place(self._tally)} {event.name}: epoch {event.epoch + 1}/{event.epochs}, "
                f"test_acc {event.test_acc:.2%}, ETA of the sweep {clock(self._tally.remaining())}"
            )
        if line is not None:
            self._pace.told()
            self._say(f"{time.strftime('%H:%M:%S')} {line}")


def _line(event: Event, tally: Tally) -> str | None:
    """Return the sentence an event leaves behind, None for those that only move a bar."""
    place = _place(tally)
    if isinstance(event, CellDone):
        accuracies = ", ".join(f"{name} {event.metrics[name]:.2%}" for name in ("best_acc", "last_acc"))
        return f"{place} {event.name}: {accuracies}, {clock(event.seconds)}, ETA {clock(tally.remaining() or 0)}"
    if isinstance(event, CellFailed):
        what = f"({event.failure_class}, {event.kind}): {event.message}"
        if event.again_in is None:
            return f"{place} {event.name}: FAILED {what}"
        return f"{event.name}: an attempt failed {what}; again in {clock(event.again_in)}"
    if isinstance(event, CellResumed):
        return f"{event.name}: goes on after epoch {event.done}/{event.epochs} (state from {event.origin})"
    if isinstance(event, CellReleased):
        return f"{event.name}: given back where it stands ({event.why})"
    if isinstance(event, WorkerHeld):
        return f"worker {event.worker} {f'waits: {event.reason}' if event.reason else 'goes on'}"
    if isinstance(event, WorkerLeft):
        reason = "the device failed" if event.why == "device" else "too little memory for so many trials at once"
        return f"worker {event.worker} leaves {event.device}: {reason}"
    if isinstance(event, MlflowAway):
        return _mlflow_line(event, tally)
    if isinstance(event, Notice):
        return event.text
    if isinstance(event, WorkerEnded) and event.exitcode != 0:
        how = f"killed by signal {-event.exitcode}" if event.exitcode < 0 else f"exit code {event.exitcode}"
        return f"worker {event.worker} died ({how})"
    return None


def _place(tally: Tally) -> str:
    """Return how far the sweep is: `[3/24]`."""
    return f"[{tally.done + tally.failed}/{tally.total}]"


def _mlflow_line(event: MlflowAway, tally: Tally) -> str | None:
    """Say it once when MLflow goes and once when everything has arrived."""
    was_away, tally.away = tally.away, sum(tally.pending.values()) > 0
    if tally.away and not was_away:
        return "MLflow does not answer: training goes on, results wait in the journal and are sent when it is back"
    return "MLflow has everything again" if was_away and not tally.away else None


def make_display(console: Console, *, total: int, what: str) -> BarDisplay | LineDisplay:
    """Return bars for a terminal that can be drawn over, and lines for anything else.

    Args:
        total: cells to do.
        what: the overall bar's name.
    """
    tally = Tally(total=total)
    return BarDisplay(console, tally, what) if console.is_interactive else LineDisplay(console, tally)
