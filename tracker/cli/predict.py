"""`tracker predict`: classes of image files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from tracker.cli.examples import examples
from tracker.cli.options import home_option
from tracker.cli.values import files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracker.deploy.opening import Opened
    from tracker.deploy.predicting import Prediction, Unreadable


@click.command(
    epilog=examples(
        ("three classes of each image", "tracker predict winner photo.jpg folder --top 3"),
        ("with a registered model", "tracker predict models:/quickstart@champion folder --format csv"),
        ("with one that is served", "tracker predict http://127.0.0.1:5001 photo.jpg"),
    ),
)
@click.argument("model", metavar="MODEL", shell_complete=files)
@click.argument("images", metavar="IMAGES...", nargs=-1, required=True, type=click.Path())
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="How to print it; json and csv hold probabilities unrounded.",
)
@click.option("--top", type=click.IntRange(1), default=1, show_default=True, metavar="K", help="Classes of each image.")
@home_option
def predict(model: str, images: tuple[str, ...], form: str, top: int, home: str | None) -> None:
    """Classify image files with an exported network.

    MODEL is a folder that `tracker export` wrote, a checkpoint (.safetensors), a registered model
    as models:/NAME@champion, or the address of a served one. IMAGES are files, and folders that are
    searched for images. All of them answer alike. Images that cannot be read are named on stderr,
    the others are predicted all the same, and the exit code is 1.
    """
    from tracker.deploy.opening import opened
    from tracker.deploy.predicting import Unreadable, predict
    from tracker.study.home import Home
    from tracker.study.printing import printable

    found: list[Prediction] = []
    failed: list[Unreadable] = []
    with opened(model, Home.find(home)) as network:
        for result in predict(network, images, top):
            if isinstance(result, Unreadable):
                failed.append(result)
                click.echo(f"cannot be read: {printable(result.image)}: {printable(result.reason)}", err=True)
            else:
                found.append(result)
    _print(network, found, failed, form)
    if failed:
        click.echo(f"{len(failed)} of {len(failed) + len(found)} could not be read", err=True)
        sys.exit(1)


def _print(network: Opened, found: Sequence[Prediction], failed: Sequence[Unreadable], form: str) -> None:
    from tracker.cli.console import print_json, print_table
    from tracker.deploy.printing import csv_text, document, table

    if form == "json":
        print_json(document(network, found, failed))
    elif form == "csv":
        click.echo(csv_text(found), nl=False)
    elif found:
        print_table(table(found))
