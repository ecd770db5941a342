"""`tracker server`: the local MLflow server."""

from __future__ import annotations

import click

from tracker.cli.options import home_option

format_option = click.option(
    "--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to print it."
)


@click.group()
def server() -> None:
    """Start, stop and look at the local MLflow server.

    A sweep starts one by itself and ends it afterwards; one started here stays.
    """


@server.command()
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    help="Port on 127.0.0.1.  [default: the last one, else 5000 or a free one]",
)
@home_option
def start(port: int | None, home: str | None) -> None:
    """Start the server, unless it runs, and print its address."""
    from tracker.study.home import Home
    from tracker.tracking.server.lifecycle import start

    status = start(Home.find(home), port)
    click.echo(status.uri)
    click.echo("it stays until `tracker server stop`", err=True)


@server.command()
@home_option
def stop(home: str | None) -> None:
    """Stop the server; no harm if there is none."""
    from tracker.study.home import Home
    from tracker.tracking.server.lifecycle import stop

    click.echo("stopped" if stop(Home.find(home)) else "no server was running", err=True)


@server.command()
@format_option
@home_option
def status(style: str, home: str | None) -> None:
    """Say whether the server runs, and where its files are."""
    import json
    from dataclasses import asdict

    from tracker.study.home import Home
    from tracker.tracking.server.lifecycle import status

    found = status(Home.find(home))
    if style == "json":
        click.echo(json.dumps({key: value if key == "running" else value and str(value) for key, value in
                               asdict(found).items()}, indent=1))  # fmt: skip
        return
    click.echo(
        f"running at {found.uri} (pid {found.pid}, since {found.started_at})" if found.running else "not running"
    )
    click.echo(f"database: {found.database}\nlog: {found.log}")
