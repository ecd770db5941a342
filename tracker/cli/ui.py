"""`tracker ui`: the runs in a browser."""

from __future__ import annotations

import click

from tracker.cli.examples import examples
from tracker.cli.options import home_option


@click.command(
    epilog=examples(
        ("The runs of the study swept last, in a browser.", "tracker ui"),
        ("On a machine without a display: the address.", "tracker ui --no-open"),
    )
)
@click.option("--no-open", is_flag=True, help="Print the address only; open no browser.")
@home_option
def ui(no_open: bool, home: str | None) -> None:
    """Browse the runs: start the MLflow server if need be, print its address and open it.

    The address is that of the study swept last, if there is one. The server stays. One of a team
    asks for a user and a password in the browser.
    """
    import os

    from tracker.cli.browser import open_in_browser
    from tracker.study.errors import TrackingError
    from tracker.study.home import Home
    from tracker.tracking.reading import newest_study
    from tracker.tracking.server.addresses import URI_VARIABLE, browsed_at, bulk_reading_uri, reading_uri
    from tracker.tracking.server.lifecycle import start
    from tracker.tracking.view import experiment_url

    place = Home.find(home)
    remote = os.environ.get(URI_VARIABLE)
    server = None if remote else start(place)
    uri = reading_uri(place) if server is None else server.uri
    assert uri is not None
    try:
        study = newest_study(bulk_reading_uri(place))  # the file of a team's server asks for no password
    except TrackingError:
        if server is None:
            raise
        study = None  # a team's server on PostgreSQL, and no password here: the browser will ask
    address = experiment_url(browsed_at(uri), study.experiment_id) if study else browsed_at(uri)
    click.echo(address)
    if server is not None:
        if server.team:
            click.echo("it asks for a user and a password", err=True)
        click.echo("the server stays until `tracker server stop`", err=True)
    if not no_open:
        open_in_browser(address)
