"""`tracker ui`: the runs in a browser."""

from __future__ import annotations

import click

from tracker.cli.options import home_option


@click.command()
@click.option("--no-open", is_flag=True, help="Print the address only; open no browser.")
@home_option
def ui(no_open: bool, home: str | None) -> None:
    """Browse the runs: start the MLflow server if need be, print its address and open it.

    The address is that of the study swept last, if there is one. The server stays.
    """
    import os
    import sys
    import webbrowser

    from tracker.study.home import Home
    from tracker.tracking.reading import newest_study
    from tracker.tracking.server.addresses import URI_VARIABLE, reading_uri
    from tracker.tracking.server.lifecycle import start
    from tracker.tracking.view import experiment_url

    place = Home.find(home)
    remote = os.environ.get(URI_VARIABLE)
    uri = reading_uri(place) if remote else start(place).uri
    assert uri is not None
    study = newest_study(uri)
    address = experiment_url(uri, study.experiment_id) if study else uri
    click.echo(address)
    if not remote:
        click.echo("the server stays until `tracker server stop`", err=True)
    display = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not no_open and display:  # without a display, webbrowser would take the terminal for a text browser
        webbrowser.open(address)
