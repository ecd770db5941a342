"""Where a command writes: results to stdout, all else to stderr; and where colours go.

A terminal gets colours unless it is dumb (TERM=dumb). NO_COLOR takes them away everywhere, FORCE_COLOR
gives them to pipes and files as well; neither has a say in where bars are drawn and tables are cut.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console
    from rich.table import Table


def stdout_console() -> Console:
    """Return the console for results."""
    return _console()


def stderr_console() -> Console:
    """Return the console for progress and messages; interactive only where it can be drawn over."""
    # FORCE_COLOR makes rich take a pipe for a terminal, and bars would fill a log with control characters.
    return _console(stderr=True, force_interactive=None if sys.stderr.isatty() else False)


def wide_console() -> Console:
    """Return the console for tables; without a terminal as wide as they take, since a file has no edge to wrap at."""
    return _console() if sys.stdout.isatty() else _console(width=1000)


def _console(**options: Any) -> Console:
    """Return a console that shows control characters instead of sending them on.

    Much of what is printed is from outside: names of folders, what a server says, why a cell failed.
    """
    from rich.console import Console
    from rich.segment import Segment

    from tracker.study.printing import harmless

    class Harmless(Console):
        def render(self, *arguments: Any, **more: Any) -> Iterable[Segment]:
            for segment in super().render(*arguments, **more):
                yield segment if segment.control else Segment(harmless(segment.text), segment.style)

    return Harmless(**options)


def painted(text: str, style: str) -> str:
    """Return a text in a style for stdout, or as it is where no colour is wanted; print it with `echo_painted`."""
    from rich.text import Text

    console = stdout_console()
    with console.capture() as captured:
        console.print(Text(text, style), end="")
    return captured.get()


def echo_painted(text: str, *, end: bool = True) -> None:
    """Print to stdout what is coloured as it should be already; click would strip it from a pipe.

    Args:
        end: with a line's end.
    """
    click.echo(text, nl=end, color=True)


def print_table(table: Table) -> None:
    """Print to stdout; without a terminal as wide as it takes."""
    wide_console().print(table)


def print_json(document: Any) -> None:
    """Print JSON alone to stdout; moments as ISO 8601."""
    import json

    click.echo(json.dumps(document, indent=2, default=lambda moment: moment.isoformat()))
