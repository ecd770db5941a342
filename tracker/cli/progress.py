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
    """Yield what shows steps: bars on a terminal, else one line where a task begins.

    Args:
        console: on stderr; what else is printed on it meanwhile stays above the bars.
    """
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = console or stderr_console()
    if not console.is_terminal:
        begun: set[str] = set()

        def print_line(step: Step) -> None:
            if step.task not in begun:
                begun.add(step.task)
                click.echo(f"{step.task} ...", err=True)

        yield print_line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Bars(*columns, console=console) as bars:
        tasks = {}

        def draw(step: Step) -> None:
            if step.task not in tasks:
                tasks[step.task] = bars.add_task(step.task, total=None)
            bars.update(tasks[step.task], completed=step.done, total=step.total or None)

        yield draw
