"""Where a command writes: results to stdout, all else to stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def stdout_console() -> Console:
    """Return the console for results."""
    from rich.console import Console

    return Console()


def stderr_console() -> Console:
    """Return the console for progress and messages."""
    from rich.console import Console

    return Console(stderr=True)


def wide_console() -> Console:
    """Return the console for tables; without a terminal as wide as they take, since a file has no edge to wrap at."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=1000)


def print_table(table: Table) -> None:
    """Print to stdout; without a terminal as wide as it takes."""
    wide_console().print(table)


def print_json(document: Any) -> None:
    """Print JSON alone to stdout; moments as ISO 8601."""
    import json

    click.echo(json.dumps(document, indent=2, default=lambda moment: moment.isoformat()))
