"""`tracker retry`: let failed or cancelled cells run again."""

from __future__ import annotations

import click

from tracker.cli.examples import examples
from tracker.cli.options import home_option, storage_option, swept_study_option
from tracker.cli.values import cells


@click.command(
    short_help="Let failed or cancelled cells run again.",
    epilog=examples(
        ("all failed cells, from where they stand", "tracker retry --study norm-test --failed"),
        (
            "one cell, from the first epoch",
            "tracker retry --study norm-test --cell resnet18/cifar10/minmax/seed=223 --anew",
        ),
        ("a device that was set aside, once it is mended", "tracker retry --study norm-test --device GPU-UUID"),
    ),
)
@swept_study_option
@click.option(
    "--cell", "words", multiple=True, metavar="ID|NAME", shell_complete=cells, help="This cell; repeat for more."
)
@click.option("--failed", is_flag=True, help="Every failed cell.")
@click.option("--device", metavar="PLACE", help="A device that was set aside, as `tracker doctor` names it.")
@click.option("--anew", is_flag=True, help="From the first epoch in a new run, not from where the cell stands.")
@storage_option
@home_option
def retry(
    study_name: str,
    words: tuple[str, ...],
    failed: bool,
    device: str | None,
    anew: bool,
    storage: str | None,
    home: str | None,
) -> None:
    """Let failed or cancelled cells wait again; the next sweep, or a worker that runs, takes them.

    They go on where they stand, in the same MLflow run. With --anew they start over, complete ones too.
    """
    from tracker.ledger.opening import ledger_with
    from tracker.study.home import Home

    if not (words or failed or device):
        raise click.UsageError("name what to try again: --cell ID, --failed or --device PLACE")
    with ledger_with(study_name, Home.find(home), storage) as ledger:
        if device is not None:
            known = ledger.devices.take_back(device)
            click.echo(f"{device} is used again" if known else f"{device} was not set aside", err=True)
        rows = []
        if failed:
            rows += ledger.retry(study_name, anew=anew)
        if words:
            cells = ledger.find_cells(study_name, words)
            rows += ledger.retry(study_name, [cell.cell_id for cell in cells], anew=anew)
    for row in rows:
        click.echo(row.name)
    if words or failed:
        click.echo(f"{len(rows)} cells wait again: tracker sweep --study {study_name}", err=True)
