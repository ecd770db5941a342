"""`tracker cancel`: take cells out of the work."""

from __future__ import annotations

import click

from tracker.cli.examples import examples
from tracker.cli.options import home_option, storage_option, swept_study_option
from tracker.cli.values import cells


@click.command(
    short_help="Take waiting and running cells out of the work.",
    epilog=examples(
        ("one cell", "tracker cancel --study norm-test --cell densenet161/svhn/minmax/seed=223"),
        ("all that is left to do", "tracker cancel --study norm-test --all"),
    ),
)
@swept_study_option
@click.option(
    "--cell", "words", multiple=True, metavar="ID|NAME", shell_complete=cells, help="This cell; repeat for more."
)
@click.option("--all", "everything", is_flag=True, help="Every cell that waits or runs.")
@storage_option
@home_option
def cancel(study_name: str, words: tuple[str, ...], everything: bool, storage: str | None, home: str | None) -> None:
    """Take waiting and running cells out of a study's work; what is complete stays.

    A worker that runs one hears of it within ten seconds and takes another. `tracker retry --cell`
    brings a cell back.
    """
    from tracker.ledger.opening import ledger_with
    from tracker.study.home import Home

    if not (words or everything):
        raise click.UsageError("name what to cancel: --cell ID, or --all")
    with ledger_with(study_name, Home.find(home), storage) as ledger:
        cells = None if everything else [cell.cell_id for cell in ledger.find_cells(study_name, words)]
        rows = ledger.cancel(study_name, cells)
    for row in rows:
        click.echo(row.name)
    click.echo(f"{len(rows)} cells are cancelled", err=True)
