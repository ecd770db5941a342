"""`tracker dashboard`: the trials in a browser."""

from __future__ import annotations

import click

from tracker.cli.examples import examples
from tracker.cli.options import home_option, storage_option
from tracker.cli.values import swept_studies


@click.command(
    epilog=examples(
        ("the study that was active last, in a browser", "tracker dashboard"),
        ("another one, at a port of your choice", "tracker dashboard --study quickstart --port 8090"),
        ("a team's trial database", "tracker dashboard --storage postgresql+psycopg://tracker@db/trials"),
    )
)
@click.option(
    "--study",
    "study_name",
    metavar="NAME",
    shell_complete=swept_studies,
    help="Open on this study.  [default: the one that was active last]",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to listen on. There is no password: whoever reaches it can look at everything.",
)
@click.option("--port", type=click.IntRange(0, 65_535), help="Port to listen on.  [default: 8080, else a free one]")
@click.option("--no-open", is_flag=True, help="Print the address only; open no browser.")
@storage_option
@home_option
def dashboard(
    study_name: str | None, host: str, port: int | None, no_open: bool, storage: str | None, home: str | None
) -> None:
    """Browse the trials with optuna-dashboard, until Ctrl-C.

    The grid as Optuna sees it: a trial for each cell, its params, state and best accuracy. It can be
    looked at and not changed. It needs the extra `dashboard`: pip install 'norm-tracker[dashboard]'.
    """
    import signal

    from tracker.cli.browser import open_in_browser
    from tracker.ledger.dashboard import LOOPBACK, Dashboard
    from tracker.ledger.ledger import local_url
    from tracker.ledger.opening import existing_ledger
    from tracker.study.errors import TrackerError, UsageError
    from tracker.study.home import Home

    place = Home.find(home)
    ledger = existing_ledger(place, storage)
    if ledger is None:
        raise UsageError(f"{place.trials_db} is not there yet", "tracker sweep --study quickstart makes it")
    with ledger:
        known = [study.study for study in ledger.studies()]
    shown = study_name or next(iter(known), None)
    if shown is not None and shown not in known:
        raise UsageError(f"{ledger} has no study {shown!r}", f"studies there: {', '.join(known) or 'none'}")
    url = storage or local_url(place)
    try:
        server = Dashboard(url, host, 8080 if port is None else port)
    except TrackerError:
        if port is not None:
            raise
        server = Dashboard(url, host)
    if host not in LOOPBACK:
        click.echo(
            f"warning: there is no password; whoever reaches {host} can look at every study. "
            "Put it behind a proxy that asks for one.",
            err=True,
        )
    address = server.study_address(shown) if shown else server.address
    click.echo(address)
    click.echo("Ctrl-C ends it", err=True)
    if not no_open:
        open_in_browser(address)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM ends it as Ctrl-C does
    try:
        server.serve()
    except KeyboardInterrupt:
        click.echo("ended", err=True)
