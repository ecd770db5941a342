"""The `tracker` command. This file and its siblings import click only; a body imports what it needs."""

from __future__ import annotations

import sys

import click

from tracker import __version__
from tracker.cli.advise import advise
from tracker.cli.cancel import cancel
from tracker.cli.compare import compare
from tracker.cli.data import data
from tracker.cli.doctor import doctor
from tracker.cli.export import export
from tracker.cli.predict import predict
from tracker.cli.pretrain import pretrain
from tracker.cli.report import report
from tracker.cli.retry import retry
from tracker.cli.server import server
from tracker.cli.status import status
from tracker.cli.sweep import sweep
from tracker.cli.ui import ui
from tracker.cli.worker import worker


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tracker")
def cli() -> None:
    """Sweep image normalizations for fine-tuning, and say which one is better.

    \b
    tracker sweep --study quickstart      run what is missing of a study
    tracker compare --study quickstart    show the leaderboard
    tracker advise FOLDER                 say which normalization suits a folder of images
    tracker ui                            browse the runs
    """


STUDIES = (sweep, compare, report, status, retry, cancel, worker)
USE = (advise, export, predict)
PLACE = (ui, server, data, pretrain, doctor)
OPERATIONS: tuple[click.Command, ...] = ()

for _command in (*STUDIES, *USE, *PLACE, *OPERATIONS):
    cli.add_command(_command)


def main() -> None:
    """Run the command; every TrackerError becomes a message on stderr and an exit code."""
    from tracker.study.errors import TrackerError

    try:
        cli(prog_name="tracker")
    except TrackerError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
