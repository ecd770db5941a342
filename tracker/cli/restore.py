"""`tracker restore`: a backup put back, or only looked at."""

from __future__ import annotations

from pathlib import Path

import click

from tracker.cli.examples import examples
from tracker.cli.options import home_option, storage_option


@click.command(
    short_help="Put a backup back, or check it with --verify.",
    epilog=examples(
        ("the newest backup, into ./mlruns", "tracker restore /backups"),
        ("a certain one, somewhere else", "tracker restore /backups/tracker-20261121-020000 --home /data/tracker"),
        ("is the newest one whole?", "tracker restore --verify /backups"),
    ),
)
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, exists=True, path_type=Path))
@click.option("--verify", "only_verify", is_flag=True, help="Compare every file with its SHA-256, and write nothing.")
@click.option("--force", is_flag=True, help="Put aside what is in the home, and replace what is in the databases.")
@storage_option
@home_option
def restore(folder: Path, only_verify: bool, force: bool, storage: str | None, home: str | None) -> None:
    """Restore DIR, a backup or a folder of backups (then the newest), into an empty home.

    Every file is verified first. The home has its name only when all of it is there. Cells that a worker
    had wait again and go on where they stood. A dump of a PostgreSQL database goes into the empty one that
    --storage (trials) or MLFLOW_BACKEND_STORE_URI (MLflow) names.
    """
    from tracker.operations.admitting import check_parts, check_readable
    from tracker.operations.databases import check_dump
    from tracker.operations.restoring import restore
    from tracker.operations.verifying import find_backup, verify
    from tracker.study.home import Home
    from tracker.study.wording import counted

    backup = find_backup(folder.absolute())
    if only_verify:
        manifest = verify(backup)
        check_readable(manifest)
        check_parts(manifest)
        for database in manifest.databases:
            if database.kind == "postgresql":
                check_dump(backup / database.path)
        for line in manifest.left_out:
            click.echo(f"not in the backup: {line}", err=True)
        click.echo(f"{backup}: whole: {counted(len(manifest.files), 'file')}, {manifest.bytes / 1e6:,.1f} MB")
        return
    place = Home.find(home)
    done = restore(backup, place, storage=storage, force=force, say=lambda words: click.echo(words, err=True))
    if done.put_aside is not None:
        click.echo(f"what was in the home is now in {done.put_aside}", err=True)
    if done.let_go:
        click.echo(f"{counted(done.let_go, 'cell')} that a worker had wait again", err=True)
    for line in done.manifest.left_out:
        click.echo(f"not in the backup: {line}", err=True)
    click.echo("next: tracker status", err=True)
    click.echo(str(place.root))
