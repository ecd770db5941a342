"""`tracker export-runs`: studies into a bundle, for another server."""

from __future__ import annotations

from pathlib import Path

import click

from tracker.cli.examples import examples
from tracker.cli.options import home_option, storage_option
from tracker.cli.values import swept_studies


@click.command(
    "export-runs",
    short_help="Pack studies for another server.",
    epilog=examples(
        ("one study", "tracker export-runs --study norm-test -o norm-test.bundle"),
        ("everything, trial database included", "tracker export-runs --all -o everything.bundle"),
        ("a study whose workers go on meanwhile", "tracker export-runs --study norm-test --live -o norm-test.bundle"),
        ("at the other place", "tracker import-runs norm-test.bundle"),
    ),
)
@click.option(
    "--study", "names", multiple=True, metavar="NAME", shell_complete=swept_studies, help="A study; repeat for more."
)
@click.option("--all", "everything", is_flag=True, help="Every study.")
@click.option(
    "-o",
    "--output",
    "target",
    required=True,
    type=click.Path(path_type=Path),
    metavar="BUNDLE",
    help="Folder to write; must not exist.",
)
@click.option("--live", is_flag=True, help="Also while workers run: their cells are packed as they stand.")
@storage_option
@home_option
def export_runs(
    names: tuple[str, ...], everything: bool, target: Path, live: bool, storage: str | None, home: str | None
) -> None:
    """Pack studies into a folder that `tracker import-runs` unpacks at another server.

    It holds all of them: experiments, runs with every point of their histories, inputs, artifacts,
    registered models, the sources they start from, the cells with their trials, and training states
    that lie on this machine. Every content stands under its SHA-256. The studies here stay as they are.
    """
    from tracker.cli.progress import shown
    from tracker.operations.exporting_runs import export_runs
    from tracker.study.home import Home
    from tracker.tracking.server.addresses import bulk_reading_uri

    if bool(names) == everything:
        raise click.UsageError("name what to export: --study NAME, repeated for more, or --all")
    place = Home.find(home)
    uri = bulk_reading_uri(place)
    with shown() as tell:
        exported = export_runs(place, uri, storage, None if everything else names, target, tell, live)
    for sentence in exported.left_out:
        click.echo(f"not in the bundle: {sentence}", err=True)
    for name, part in exported.parts.items():
        cells = f"{part.cells} cells" if part.cells else "no cells in the trial database"
        click.echo(f"{name}: {part.runs} runs, {cells}, {part.files} files, {part.size / 1e6:.1f} MB")
    click.echo(f"{target} is whole; at the other place: tracker import-runs {target}", err=True)
