"""Options that several commands share."""

from __future__ import annotations

import click

home_option = click.option(
    "--home",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Folder for everything kept locally.  [default: TRACKER_HOME, else ./mlruns]",
)
study_option = click.option(
    "--study", "study_name", metavar="NAME|PATH", help="A study in experiments/, or a path to a YAML file."
)
