"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

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
set_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a value of the study: recipe.epochs=5. Repeat for more.",
)
device_option = click.option(
    "--device", metavar="auto|cpu|cuda|cuda:N", help="Where to train.  [default: the study's, as a rule auto]"
)
weights_dir_option = click.option(
    "--weights-dir",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    metavar="DIR",
    help="Folder with torchvision's weights files.  [default: torch hub's cache, else the home folder]",
)
