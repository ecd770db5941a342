"""The `tracker` command. This file and its siblings import click only; a body imports what it needs."""

from __future__ import annotations

import sys

import click

from tracker import __version__
from tracker.cli.advise import advise
from tracker.cli.backup import backup
from tracker.cli.bench import bench
from tracker.cli.cancel import cancel
from tracker.cli.compare import compare
from tracker.cli.completion import completion
from tracker.cli.dashboard import dashboard
from tracker.cli.data import data
from tracker.cli.doctor import doctor
from tracker.cli.export import export
from tracker.cli.export_runs import export_runs
from tracker.cli.gc import gc
from tracker.cli.import_runs import import_runs
from tracker.cli.predict import predict
from tracker.cli.pretrain import pretrain
from tracker.cli.report import report
from tracker.cli.restore import restore
from tracker.cli.retry import retry
from tracker.cli.server import server
from tracker.cli.status import status
from tracker.cli.sweep import sweep
from tracker.cli.ui import ui
from tracker.cli.worker import worker


class _Sections(click.Group):
    """A group that lists its commands by what they are for."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a heading and the commands of each section."""
        for title, commands in SECTIONS.items():
            width = formatter.width - 6 - max((len(str(command.name)) for command in commands), default=0)
            rows = [(str(command.name), command.get_short_help_str(width)) for command in commands]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


@click.group(cls=_Sections, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tracker")
def cli() -> None:
    """Sweep image normalizations for fine-tuning, and say which one is better.

    \b
    tracker sweep --study quickstart     run what is missing of a study
    tracker compare --study quickstart   show the leaderboard
    tracker advise photos                say which one suits a folder of images
    tracker ui                           browse the runs
    """


STUDIES = (sweep, compare, report, status, retry, cancel, worker)
USE = (advise, export, predict)
PLACE = (ui, dashboard, server, data, pretrain, doctor, bench, completion)
OPERATIONS: tuple[click.Command, ...] = (backup, restore, gc, export_runs, import_runs)

SECTIONS = {"Studies": STUDIES, "Images and networks": USE, "This machine": PLACE, "Operations": OPERATIONS}

for _command in (command for commands in SECTIONS.values() for command in commands):
    cli.add_command(_command)


def main() -> None:
    """Run the command; every TrackerError becomes a message on stderr and an exit code."""
    import os

    from tracker.study.errors import TrackerError
    from tracker.study.secrets import part_credentials, read_secret_files

    # Python programs that are started from here take no modules from the current folder, which may be anybody's.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    try:
        read_secret_files()
        part_credentials()
        cli(prog_name="tracker")
    except TrackerError as error:
        from tracker.study.printing import harmless

        click.echo(harmless(f"error: {error}"), err=True)
        sys.exit(error.exit_code)
