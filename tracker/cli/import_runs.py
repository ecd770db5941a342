"""`tracker import-runs`: studies out of a bundle, into this place's MLflow and trial database."""

from __future__ import annotations

from pathlib import Path

import click

from tracker.cli.examples import examples
from tracker.cli.options import home_option, storage_option


@click.command(
    "import-runs",
    short_help="Unpack studies from another server.",
    epilog=examples(
        ("into this machine's own server and trial database", "tracker import-runs norm-test.bundle"),
        (
            "into PostgreSQL; MLFLOW_TRACKING_URI names the server",
            "tracker import-runs norm-test.bundle --storage postgresql+psycopg://db/trials",
        ),
        ("go on where the study stands", "tracker sweep --study norm-test"),
    ),
)
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@storage_option
@home_option
def import_runs(bundle: Path, storage: str | None, home: str | None) -> None:
    """Unpack what `tracker export-runs` packed, so that its studies are read, compared and gone on with here.

    The bundle is read and verified to its last byte before anything is written. Runs get new ids, and
    tags, descriptions and cells that name them are rewritten. An import that was interrupted is
    completed by the same command; nothing is made twice. A study, an experiment or a registered model
    of the same name that is here already is refused, unless it came from this very bundle.
    """
    from tracker.cli.progress import shown
    from tracker.operations.bundle import open_bundle
    from tracker.operations.importing_runs import check_bundle, import_runs
    from tracker.study.home import Home
    from tracker.tracking.server.session import tracking_session

    place = Home.find(home)
    found = open_bundle(bundle)
    for sentence in found.manifest.left_out:
        click.echo(f"not in the bundle: {sentence}", err=True)
    with shown() as tell:
        check_bundle(found, tell)
        with tracking_session(place, lambda message: click.echo(message, err=True)) as uri:
            for done in import_runs(found, place, uri, storage, tell):
                runs = f"{done.new_runs} of {done.runs} runs" if done.new_runs else "its runs were here already"
                click.echo(f"{done.study}: {runs}{f', {done.cells} cells' if done.cells else ''}")
    for study in found.manifest.studies:
        click.echo(f"tracker compare --study {study}; tracker sweep --study {study} goes on", err=True)
