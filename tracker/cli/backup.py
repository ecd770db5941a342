"""`tracker backup`: a copy of everything kept locally, made while sweeps run."""

from __future__ import annotations

from pathlib import Path

import click

from tracker.cli.examples import examples
from tracker.cli.options import home_option, storage_option


@click.command(
    short_help="Back up databases, files and training states.",
    epilog=examples(
        ("every night, the last two weeks", "tracker backup /backups --keep 14"),
        ("is the newest one whole?", "tracker restore --verify /backups"),
        ("with a trial database on a server", "tracker backup /backups --storage postgresql+psycopg://db/trials"),
    ),
)
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--keep",
    type=click.IntRange(1),
    metavar="N",
    help="Afterwards, remove this home's backups in DIR but for the newest N.",
)
@click.option("--with-data", is_flag=True, help="Also datasets and weights, which can be fetched again.")
@click.option(
    "--without-tracking", is_flag=True, help="Leave out MLflow's database; else one out of reach is an error."
)
@click.option(
    "--without-artifacts", is_flag=True, help="Leave out files of runs that lie elsewhere (S3); else they are an error."
)
@storage_option
@home_option
def backup(
    folder: Path,
    keep: int | None,
    with_data: bool,
    without_tracking: bool,
    without_artifacts: bool,
    storage: str | None,
    home: str | None,
) -> None:
    """Back up a home and its databases into DIR, as a new folder tracker-YYYYMMDD-HHMMSS (UTC).

    Sweeps may go on meanwhile. SQLite files are copied at one moment each, PostgreSQL databases (--storage,
    MLFLOW_BACKEND_STORE_URI) are dumped with pg_dump, and every file is compared with its SHA-256 before the
    folder gets its name. Files that did not change since the last backup in DIR take no space again.

    Prints the folder. `tracker restore` puts it back.
    """
    from tracker.operations.backing_up import back_up
    from tracker.study.home import Home
    from tracker.study.wording import counted

    made = back_up(
        Home.find(home),
        folder.absolute(),
        storage=storage,
        keep=keep,
        with_data=with_data,
        without_tracking=without_tracking,
        without_artifacts=without_artifacts,
        say=lambda words: click.echo(words, err=True),
    )
    for line in made.manifest.left_out:
        click.echo(f"not in the backup: {line}", err=True)
    if live := len(made.manifest.live):
        click.echo(f"{counted(live, 'cell')} at work: from the restored copy they go on where they stood", err=True)
    click.echo(
        f"{counted(len(made.manifest.files), 'file')}, {made.manifest.bytes / 1e6:,.1f} MB; "
        f"{made.copied_bytes / 1e6:,.1f} MB of it new",
        err=True,
    )
    click.echo(str(made.folder))
