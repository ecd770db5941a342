"""`tracker server`: the MLflow server of a home."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tracker.cli.examples import examples
from tracker.cli.options import home_option

if TYPE_CHECKING:
    from tracker.tracking.server.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

format_option = click.option(
    "--format", "style", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to print it."
)


def listening_options(command: Command) -> Command:
    """Add the options of `start` and `run`: whom the server listens to."""
    for option in (
        click.option(
            "--cors-origins",
            metavar="URLS",
            help="Sites besides the server's own whose pages may write to it, with commas between them.",
        ),
        click.option(
            "--allowed-hosts",
            metavar="NAMES",
            help="Names it is called by besides its address, with commas between them: NAME, NAME:PORT, *.DOMAIN. "
            "Requests for another name are refused.",
        ),
        click.option(
            "--team",
            is_flag=True,
            help="Ask everybody for a user and a password. Needs MLFLOW_FLASK_SERVER_SECRET_KEY and "
            "MLFLOW_AUTH_ADMIN_PASSWORD, or files named by these with _FILE behind.",
        ),
        click.option(
            "--port",
            type=click.IntRange(1, 65_535),
            help="Port to listen on.  [default: the last one, else one from 5000 to 5999 that the home keeps]",
        ),
        click.option(
            "--host",
            metavar="ADDRESS",
            help="Address to listen on; one that other machines reach needs --team.  [default: 127.0.0.1]",
        ),
    ):
        command = option(command)
    return command


def _settings(host: str | None, team: bool, allowed_hosts: str | None, cors_origins: str | None) -> Settings | None:
    """Return what the options say; None if they say nothing."""
    from tracker.tracking.server.settings import HOST, Settings

    if not (host or team or allowed_hosts or cors_origins):
        return None

    def split(text: str | None) -> tuple[str, ...]:
        return tuple(part.strip().rstrip("/") for part in (text or "").split(",") if part.strip())

    return Settings(host or HOST, split(allowed_hosts), split(cors_origins), team)


@click.group()
def server() -> None:
    """Start, stop and look at the MLflow server of this home.

    A sweep starts one by itself and ends it afterwards; one started here stays. Runs and files lie
    in the home, or where MLFLOW_BACKEND_STORE_URI (PostgreSQL) and MLFLOW_ARTIFACTS_DESTINATION say.
    """


@server.command(
    epilog=examples(
        ("on this machine, without a password", "tracker server start"),
        (
            "for a team, under a name of its own",
            "tracker server start --host 0.0.0.0 --team --allowed-hosts mlflow.lan",
        ),
    )
)
@listening_options
@home_option
def start(
    host: str | None,
    port: int | None,
    team: bool,
    allowed_hosts: str | None,
    cors_origins: str | None,
    home: str | None,
) -> None:
    """Start the server, unless it runs, and print its address.

    A server that died comes back with the options it had, unless others are given.
    """
    from tracker.study.home import Home
    from tracker.tracking.server.lifecycle import start

    found = start(Home.find(home), port, settings=_settings(host, team, allowed_hosts, cors_origins))
    click.echo(found.uri)
    if found.remark:
        click.echo(f"{found.remark}; {found.cure}", err=True)
    click.echo("it stays until `tracker server stop`", err=True)


@server.command(
    epilog=examples(
        ("as a container or a systemd unit runs it", "tracker server run --host 0.0.0.0 --port 5000 --team"),
    )
)
@listening_options
@home_option
def run(
    host: str | None,
    port: int | None,
    team: bool,
    allowed_hosts: str | None,
    cors_origins: str | None,
    home: str | None,
) -> None:
    """Run the server in the foreground, for containers and service managers.

    It prints its address once it answers, and its log to stderr. SIGTERM or Ctrl-C ends it with
    exit code 0; if it ends by itself the exit code is 1, so that it can be started again.
    """
    from tracker.study.home import Home
    from tracker.tracking.server.foreground import run
    from tracker.tracking.server.settings import Settings

    settings = _settings(host, team, allowed_hosts, cors_origins) or Settings()
    run(Home.find(home), port, settings, click.echo)


@server.command(epilog=examples(("the server of this home", "tracker server stop")))
@home_option
def stop(home: str | None) -> None:
    """Stop the server; no harm if there is none."""
    from tracker.study.home import Home
    from tracker.tracking.server.lifecycle import stop

    click.echo("stopped" if stop(Home.find(home)) else "no server was running", err=True)


@server.command(
    epilog=examples(
        ("where it answers, or why it does not", "tracker server status"),
        ("for a script", "tracker server status --format json"),
    )
)
@format_option
@home_option
def status(style: str, home: str | None) -> None:
    """Say whether the server runs, what is odd about it, and where its files are."""
    import json
    from dataclasses import asdict

    from tracker.study.home import Home
    from tracker.tracking.server.lifecycle import status

    found = status(Home.find(home))
    if style == "json":
        click.echo(json.dumps(asdict(found), indent=1, default=str))
        return
    with_password = ", asks for a password" if found.team else ""
    click.echo(
        f"running at {found.uri} (pid {found.pid}, since {found.started_at}, MLflow {found.version}{with_password})"
        if found.running
        else "not running"
    )
    if found.remark:
        click.echo(f"{found.remark}\n  cure: {found.cure}")
    click.echo(f"database: {found.storage or found.database}\nlog: {found.log}")


@server.command(
    epilog=examples(
        ("the end of it", "tracker server logs -n 50"),
        ("and what comes, until Ctrl-C", "tracker server logs --follow"),
    )
)
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=20, show_default=True, help="How many of the last lines."
)
@click.option("--follow", is_flag=True, help="Go on with what is printed from now on, until Ctrl-C.")
@home_option
def logs(lines: int, follow: bool, home: str | None) -> None:
    """Show what the server printed.

    Five files of 5 MiB are kept. A server of `tracker server run` prints to its terminal, container
    or journal instead.
    """
    from tracker.study.errors import TrackingError
    from tracker.study.home import Home
    from tracker.tracking.server.logs import follow as following
    from tracker.tracking.server.logs import last_lines, log_path

    place = Home.find(home)
    if not follow and not log_path(place).exists():
        raise TrackingError(f"no server of {place.root} has printed anything yet", "tracker server start")
    for line in last_lines(place, lines):
        click.echo(line)
    if follow:
        try:
            for text in following(place):
                click.echo(text, nl=False)
        except KeyboardInterrupt:
            pass


@server.command(
    epilog=examples(
        ("as a container asks", "tracker server health --uri http://127.0.0.1:5000"),
        ("in a script: wait until it is up", "tracker server health --wait 60"),
    )
)
@click.option(
    "--uri", metavar="URL", help="The server to ask.  [default: this home's, else the one of MLFLOW_TRACKING_URI]"
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Ask again for that long before giving up.",
)
@home_option
@click.pass_context
def health(context: click.Context, uri: str | None, wait: float, home: str | None) -> None:
    """Ask whether the server answers: exit code 0 if it does, 1 if not. Needs no password."""
    import os
    import time

    from tracker.study.home import Home
    from tracker.tracking.server.health import answers
    from tracker.tracking.server.record import read_record

    def where() -> str | None:
        record = None if uri else read_record(Home.find(home))
        return uri or (record.uri if record and record.alive() else os.environ.get("MLFLOW_TRACKING_URI"))

    deadline = time.monotonic() + wait
    while not ((found := where()) and answers(found)):
        if time.monotonic() >= deadline:
            click.echo(f"no answer from {found}" if found else "no server is running", err=True)
            context.exit(1)
        time.sleep(0.2)
    click.echo(found)
