"""Back up a home: a new folder, complete and verified before it has its name."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import FileLock, Timeout

from tracker import __version__
from tracker.operations.databases import check_dump
from tracker.operations.gathering import Gathering
from tracker.operations.leftovers import abandoned, remove_tree, temporary_name
from tracker.operations.manifest import FORMAT, Manifest, write_manifest
from tracker.operations.verifying import backups_in, verify
from tracker.operations.writing import Earlier, Writer, free_bytes
from tracker.study.errors import DiskFull, TrackerError, UsageError
from tracker.study.home import Home
from tracker.study.wording import counted

PACKAGES = ("mlflow", "optuna", "sqlalchemy", "torch", "safetensors")
SPARE_BYTES = 64 << 20
"""Free space that is left beside what the backup is estimated to need."""


@dataclass(frozen=True)
class BackedUp:
    """What a backup became.

    Args:
        linked: files that are those of the backup before.
        copied_bytes: what this backup takes on the disk beside them.
        removed: older backups that were removed.
    """

    folder: Path
    manifest: Manifest
    linked: int
    copied_bytes: int
    removed: tuple[Path, ...]


def back_up(
    home: Home,
    folder: Path,
    *,
    storage: str | None = None,
    keep: int | None = None,
    with_data: bool = False,
    without_tracking: bool = False,
    without_artifacts: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> BackedUp:
    """Make a backup of a home and its databases as a new folder in `folder`, verified before it has its name.

    Args:
        storage: URL of the trial database; None for the local one.
        keep: afterwards, remove this home's backups in `folder` but for the newest so many.
        with_data: also datasets and weights, which can be fetched again.
        without_tracking: go on where MLflow's database cannot be reached, and leave it out.
        without_artifacts: go on where runs have files elsewhere, and leave those out.
        say: told what is done.

    Raises:
        TrackerError: there is nothing here, a part cannot be had, or the copy differs.
        DiskFull: no room.

    Writes: `folder/tracker-YYYYMMDD-HHMMSS`.
    """
    if not home.root.is_dir():
        raise UsageError(f"{home.root} is not there: nothing to back up", "name another home with --home DIR")
    with alone(home), _translated(folder):
        parts = Gathering(home, folder, storage, with_data)
        parts.check_reach(without_tracking, without_artifacts)
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in abandoned(folder):
            say(f"{leftover.name}: left by a backup that was killed; removed")
            remove_tree(leftover)
        before = [each for each in backups_in(folder) if each[1].is_of(home)]
        earlier = Earlier.of(*before[-1]) if before else None
        _check_room(folder, parts.bytes_to_copy(earlier))
        made, manifest, writer = _make(home, folder, parts, earlier, say)
        removed = [path for path, _ in before[: max(0, len(before) + 1 - keep)]] if keep is not None else []
        for path in removed:
            say(f"{path.name}: older than the newest {keep}; removed")
            remove_tree(path)
        return BackedUp(made, manifest, len(writer.linked), manifest.bytes - writer.linked_bytes, tuple(removed))


def _make(
    home: Home, folder: Path, parts: Gathering, earlier: Earlier | None, say: Callable[[str], None]
) -> tuple[Path, Manifest, Writer]:
    """Write all parts, verify them, and give the folder its name."""
    temporary = folder / temporary_name("part")
    temporary.mkdir(mode=0o700)  # it holds what the home keeps from others: accounts, results
    try:
        writer = Writer(temporary, earlier)
        started = datetime.now(UTC)
        databases, live = parts.write(writer, say)
        manifest = Manifest(
            format=FORMAT,
            name=_free_name(folder),
            created=started.isoformat(timespec="seconds"),
            host=socket.gethostname(),
            home=str(home.root),
            versions=_versions(),
            databases=databases,
            live=live,
            left_out=parts.gaps(),
            files=sorted(writer.entries, key=lambda entry: entry.path),
        )
        write_manifest(temporary, manifest)
        say(f"verifying {counted(len(manifest.files), 'file')}, {manifest.bytes / 1e6:,.1f} MB")
        verify(temporary, manifest, trusted=writer.linked)
        for database in databases:
            if database.kind == "postgresql":
                check_dump(temporary / database.path)
        os.sync()  # one wait for all files, where an fsync of each would take hours for small ones
        final = temporary.rename(folder / manifest.name)
        _sync_folder(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return final, manifest, writer


def _check_room(folder: Path, needed: int) -> None:
    free = free_bytes(folder)
    if free < needed + SPARE_BYTES:
        raise DiskFull(
            f"{folder}: {needed / 1e6:,.0f} MB to copy, {free / 1e6:,.0f} MB free",
            "free some space, remove old backups with --keep N, or name another disk",
        )


@contextmanager
def alone(home: Home) -> Iterator[None]:
    """Hold off other backups of this home, and `tracker gc`, which would remove what is copied.

    Raises:
        TrackerError: one of them runs.
    """
    lock = FileLock(home.make(home.root) / "operations.lock", timeout=0)
    try:
        with lock:
            yield
    except Timeout as error:
        raise TrackerError(
            f"{home.root}: a backup, a restore or `tracker gc` runs already", "try again when it has ended"
        ) from error


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    """Turn what the file system raises into an error with a cure."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFull(
                f"{folder}: no room for the backup; nothing of it was kept",
                "free some space, remove old backups with --keep N, or name another disk",
            ) from error
        raise TrackerError(
            f"{error.filename or folder}: {error.strerror}", "see who may read and write there"
        ) from error


def _free_name(folder: Path) -> str:
    """Return the name of a backup made now; the next second's where there is one of this second."""
    while (folder / (name := datetime.now(UTC).strftime("tracker-%Y%m%d-%H%M%S"))).exists():
        time.sleep(0.05)
    return name


def _versions() -> dict[str, str]:
    found = {"tracker": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
