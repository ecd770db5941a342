"""Progress on stderr for commands that work on image sets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from tracker.cli.console import stderr_console

if TYPE_CHECKING:
    from rich.console import Console

    from tracker.vision.progress import Progress, Step


@contextmanager
def shown(console: Console | None = None) -> Iterator[Progress]:
    """Yield what shows steps: bars on a terminal, else a line where a task begins and some while it lasts.

    Args:
        console: on stderr; what else is printed on it meanwhile stays above the bars.
    """
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = console or stderr_console()
    if not console.is_interactive:
        yield _lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console) as bars:
        tasks = {}

        def draw(step: Step) -> None:
            if step.task not in tasks:
                tasks[step.task] = bars.add_task(step.task, total=None)
            bars.update(tasks[step.task], completed=step.done, total=step.total or None)

        yield draw


def _lines() -> Progress:
    """Return what prints a step as a plain line, at the pace of a log."""
    import time

    from tracker.sweep.progress import Pace, clock

    begun: dict[str, tuple[float, int, Pace]] = {}

    def print_line(step: Step) -> None:
        if step.task not in begun:
            begun[step.task] = (time.monotonic(), step.done, Pace())
            click.echo(f"{step.task} ...", err=True)
            return
        since, first, pace = begun[step.task]
        if not pace.due():
            return
        pace.told()
        rate = (step.done - first) / (time.monotonic() - since)
        left = f", {clock((step.total - step.done) / rate)} left" if step.total and rate > 0 else ""
        click.echo(f"{time.strftime('%H:%M:%S')} {step.task}: {_amount(step)}{left}", err=True)

    return print_line


def _amount(step: Step) -> str:
    """Return how much is done: `62.1 of 170.5 MB (36 %)`, `12,000 of 60,000 images (20 %)`."""
    scale, unit, digits = (1e6, "MB", 1) if step.unit == "bytes" else (1, step.unit, 0)
    done = f"{step.done / scale:,.{digits}f}"
    if not step.total:
        return f"{done} {unit}"
    return f"{done} of {step.total / scale:,.{digits}f} {unit} ({step.done / step.total:.0%})".replace("%", " %")
