"""Put a backup back: verified first, made beside the home, and given the home's name when it is whole."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tracker.ledger.addresses import public_name
from tracker.ledger.ledger import Claim, Ledger
from tracker.operations.admitting import check_parts, check_readable, servers_for
from tracker.operations.databases import damage, is_empty, restore_server
from tracker.operations.leftovers import abandoned, temporary_name
from tracker.operations.manifest import HOME_PART, Manifest, StoredDatabase, read_manifest
from tracker.operations.placing import in_the_way, put_in_place, staging_place
from tracker.operations.verifying import verify
from tracker.operations.writing import copy_hashed, free_bytes
from tracker.study.errors import DiskFull, TrackerError, UsageError
from tracker.study.home import Home
from tracker.study.wording import counted
from tracker.tracking.journal import held_journals
from tracker.tracking.server.addresses import database_uri
from tracker.tracking.server.lifecycle import status as server_status
from tracker.tracking.server.record import is_held

SPARE_BYTES = 64 << 20
LISTED = 5
"""Names of what is in the way that a message has."""


@dataclass(frozen=True)
class Restored:
    """What a restore did.

    Args:
        put_aside: where what was in the home is now; None where it was empty.
        let_go: cells that a worker had when the backup was made, and that wait now.
        moved: places in MLflow's database that named the old home.
    """

    manifest: Manifest
    put_aside: Path | None
    let_go: int
    moved: int


def restore(
    backup: Path,
    home: Home,
    *,
    storage: str | None = None,
    force: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Restored:
    """Restore a backup into an empty home, and its PostgreSQL databases into empty ones.

    Args:
        backup: one backup's folder.
        storage: URL of the database that a dump of the trial database goes into.
        force: put what is in the home aside, and replace what is in the databases.
        say: told what is done.

    Raises:
        TrackerError: the backup is damaged or a newer program's, or something is in the way. The home is
            then as it was.

    Writes: the home; nothing else has its name before all of it is there.
    """
    manifest = read_manifest(backup)
    check_readable(manifest)
    check_parts(manifest)
    servers = servers_for(manifest, storage)
    say(f"verifying {counted(len(manifest.files), 'file')}, {manifest.bytes / 1e6:,.1f} MB")
    verify(backup, manifest)
    for database, url in servers:
        if not force and not is_empty(url):
            raise UsageError(
                f"the database for {database.role} is not empty: {public_name(url)}",
                "name an empty one (createdb), or replace what is in it with --force",
            )
    try:
        return _restore(backup, manifest, home, servers, force, say)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(f"{home.root}: no room for the backup", "free some space, or name another --home") from error
        raise TrackerError(
            f"{error.filename or home.root}: {error.strerror}", "name another place with --home DIR"
        ) from error


def _restore(
    backup: Path,
    manifest: Manifest,
    home: Home,
    servers: list[tuple[StoredDatabase, str]],
    force: bool,
    say: Callable[[str], None],
) -> Restored:
    if server_status(home).running:
        raise UsageError(f"the MLflow server of {home.root} runs", "tracker server stop")
    if is_held(home):
        raise UsageError(
            f"the MLflow server of {home.root} runs in another container or on another machine", "stop it there first"
        )
    if held_journals(home):
        raise UsageError(f"workers are at work in {home.root}", "tracker sweep --study NAME --pause, for each study")
    there = in_the_way(home)
    if there and not force:
        more = f" and {len(there) - LISTED} more" if len(there) > LISTED else ""
        raise UsageError(
            f"{home.root} is not empty: {', '.join(there[:LISTED])}{more}",
            "name an empty or new one with --home DIR, or put aside what is there with --force",
        )
    beside = staging_place(home)
    for leftover in abandoned(beside, ("restoring",)):
        say(f"{leftover}: left by a restore that was killed; removed")
        shutil.rmtree(leftover)
    if free_bytes(beside) < manifest.bytes + SPARE_BYTES:
        raise DiskFull(
            f"{beside}: {manifest.bytes / 1e6:,.0f} MB to restore, {free_bytes(beside) / 1e6:,.0f} MB free",
            "free some space, or name another disk with --home DIR",
        )
    staged = Home(beside / temporary_name("restoring"))
    staged.root.mkdir(mode=0o755)
    try:
        say("copying")
        _copy(backup, manifest, staged)
        moved = _mend_tracking(manifest, staged, home)
        let_go = let_workers_go(staged, None)
        os.sync()
        for database, url in servers:
            say(f"{database.role}: pg_restore into {public_name(url)}")
            restore_server(url, backup / database.path, replace=force)
            if database.role == "trials":
                let_go += let_workers_go(staged, url)
            else:
                moved += _move(url, Path(manifest.home), home.root)
        aside = put_in_place(staged, home)
    except BaseException:
        shutil.rmtree(staged.root, ignore_errors=True)
        raise
    return Restored(manifest, aside, let_go, moved)


def _copy(backup: Path, manifest: Manifest, staged: Home) -> None:
    """Copy every file to where it belongs, and see that it is what was verified."""
    places = {database.path: database for database in manifest.databases}
    for entry in manifest.files:
        database = places.get(entry.path)
        part, _, name = entry.path.partition("/")
        if database is not None and database.kind == "postgresql":
            continue
        if part != HOME_PART and database is not None:
            name = _free_name(staged, database)
        target = staged.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(backup / entry.path, "rb") as file:
            size, sha256 = copy_hashed(file, target)
            status = os.fstat(file.fileno())
        if (size, sha256) != (entry.size, entry.sha256):
            raise TrackerError(f"{backup / entry.path} changed while it was restored", "nobody may write to a backup")
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        target.chmod(status.st_mode & 0o777)
        if database is not None and (problem := damage(target)):
            raise TrackerError(f"{backup / entry.path} is damaged: {problem}", "use another backup")


def _free_name(staged: Home, database: StoredDatabase) -> str:
    """Return the home's own name for a SQLite file that lay elsewhere, or one beside it where that is taken."""
    own = staged.trials_db if database.role == "trials" else staged.tracking_db
    return own.name if not own.exists() else f"{own.stem}-elsewhere.db"


def _mend_tracking(manifest: Manifest, staged: Home, home: Home) -> int:
    """Let runs that name absolute paths below the old home name the new one."""
    if not staged.tracking_db.exists():
        return 0
    moved = _move(database_uri(staged), Path(manifest.home), home.root)
    for sidecar in ("-wal", "-shm"):
        staged.tracking_db.with_name(staged.tracking_db.name + sidecar).unlink(missing_ok=True)
    return moved


def _move(uri: str, old: Path, new: Path) -> int:
    from tracker.tracking.locations import move_places  # two seconds of imports

    return move_places(uri, old, new) if old != new and old.is_absolute() else 0


def let_workers_go(home: Home, storage: str | None) -> int:
    """Give back every cell that a worker has, since none of the old place works here; return how many.

    It is no failure: no attempt is counted, and the cell goes on where it stands.
    """
    if storage is None and not home.trials_db.exists():
        return 0
    let_go = 0
    with Ledger.open(home, storage) as ledger:
        for study in ledger.studies():
            for row in ledger.rows(study.study, in_grid=False):
                if row.state == "RUNNING" and row.lease_expires is not None and row.run_key is not None:
                    claim = Claim(
                        row.study, row.cell_id, row.name, str(row.worker), row.token, row.attempts, row.trial_number,
                        row.lease_expires, row.run_key, row.last_epoch, row.micro_batches,
                    )  # fmt: skip
                    ledger.leases.release(claim)
                    let_go += 1
    if storage is None:
        home.trials_db.with_name(f"{home.trials_db.name}.lock").unlink(missing_ok=True)
    return let_go
