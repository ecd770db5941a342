"""`tracker gc`: what can be deleted, and why that is safe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracker.cli.console import print_json, print_table
from tracker.cli.durations import Duration
from tracker.cli.examples import examples
from tracker.cli.options import home_option, storage_option

if TYPE_CHECKING:
    from tracker.operations.collecting import Garbage, Removed


@click.command(
    short_help="Show what can be deleted, and why; --delete does it.",
    epilog=examples(
        ("what could go, and how much it is", "tracker gc"),
        ("let it go", "tracker gc --delete"),
        ("also the checkpoints of all but each configuration's best seed", "tracker gc --checkpoints --delete"),
    ),
)
@click.option("--delete", is_flag=True, help="Delete what is shown.")
@click.option(
    "--older-than",
    type=Duration(least="1h"),
    default="30d",
    show_default=True,
    metavar="AGE",
    help="How long runs deleted in MLflow, files of no run and training states outside the grid are kept.",
)
@click.option("--checkpoints", is_flag=True, help="Also the checkpoints that are not their configuration's best.")
@click.option("--data", is_flag=True, help="Also packed datasets that no study in the trial database uses.")
@click.option(
    "--backups",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    metavar="DIR",
    help="Also what killed backups left in DIR.",
)
@click.option("--verbose", "-v", is_flag=True, help="Name each thing.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print."
)
@storage_option
@home_option
@click.pass_context
def gc(
    context: click.Context,
    delete: bool,
    older_than: float,
    checkpoints: bool,
    data: bool,
    backups: Path | None,
    verbose: bool,
    form: str,
    storage: str | None,
    home: str | None,
) -> None:
    """Show what of a home can be deleted, how much it is, and why that is safe; --delete does it.

    Results, and what a cell needs to go on, are never shown: the ledger decides. Nothing of a living worker
    and nothing written within the last hour is touched.
    """
    from tracker.operations.collecting import collect, remove
    from tracker.study.home import Home
    from tracker.study.wording import counted

    place = Home.find(home)
    found = collect(place, storage=storage, older_than=older_than, checkpoints=checkpoints, data=data, backups=backups)
    say = (lambda name: click.echo(f"deleted: {name}", err=True)) if verbose else (lambda _: None)
    done = remove(place, found, say) if delete else None
    if form == "json":
        print_json(_document(found, done))
    elif found.groups:
        _show(found, verbose)
    for line in found.named:
        click.echo(f"stays: {line}", err=True)
    if done is None:
        words = f"{found.bytes / 1e6:,.1f} MB can go: tracker gc --delete" if found.groups else "nothing can go"
        click.echo(words, err=True)
        return
    for name in done.spared:
        click.echo(f"stays: {name}: in use again", err=True)
    for line in done.failed:
        click.echo(f"not deleted: {line}", err=True)
    click.echo(f"deleted {counted(done.count, 'thing')}, {done.bytes / 1e6:,.1f} MB", err=True)
    context.exit(1 if done.failed else 0)


def _show(found: Garbage, verbose: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("what")
    table.add_column("count", justify="right")
    table.add_column("MB", justify="right")
    table.add_column("why it is safe")
    for group in found.groups:
        table.add_row(group.what, f"{len(group.items):,}", f"{group.bytes / 1e6:,.1f}", group.why)
        for item in group.items if verbose else ():
            table.add_row(f"  {escape(item.name)}", "", f"{item.bytes / 1e6:,.1f}", "", style="dim")
    count = sum(len(group.items) for group in found.groups)
    table.add_row("total", f"{count:,}", f"{found.bytes / 1e6:,.1f}", "", style="bold")
    print_table(table)


def _document(found: Garbage, done: Removed | None) -> dict[str, Any]:
    groups = [
        {"what": group.what, "why": group.why, "bytes": group.bytes,
         "items": [{"name": item.name, "bytes": item.bytes} for item in group.items]}
        for group in found.groups
    ]  # fmt: skip
    document: dict[str, Any] = {"bytes": found.bytes, "groups": groups, "stays": found.named}
    if done is not None:
        document["deleted"] = {
            "count": done.count, "bytes": done.bytes, "spared": done.spared, "failed": done.failed
        }  # fmt: skip
    return document
