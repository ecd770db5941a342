"""Whether a backup is what its manifest says: every file there, none besides, each with its hash."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from tracker.operations.manifest import FOLDER_NAME, MANIFEST, Manifest, read_manifest
from tracker.study.errors import TrackerError, UsageError

NAMED = 5
"""Problems that a message lists; of more it says how many."""


def find_backup(folder: Path) -> Path:
    """Return the backup a folder is, or the newest of those it holds.

    Raises:
        UsageError: it is none and holds none.
    """
    if (folder / MANIFEST).exists():
        return folder
    if found := backups_in(folder):
        return found[-1][0]
    raise UsageError(f"{folder} is no backup and holds none", "name a folder that was given to `tracker backup`")


def backups_in(folder: Path) -> list[tuple[Path, Manifest]]:
    """Return the backups in a folder with readable manifests, oldest first; all else in it is passed over."""
    found = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if FOLDER_NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            try:
                manifest = read_manifest(path)
            except TrackerError:
                continue
            if manifest.name == path.name:
                found.append((path, manifest))
    return sorted(found, key=lambda each: each[0].name)


def verify(folder: Path, manifest: Manifest | None = None, trusted: Collection[str] = ()) -> Manifest:
    """Compare every file of a backup with its manifest.

    Args:
        manifest: as read from the folder; None reads it.
        trusted: paths whose bytes were read and compared just now.

    Raises:
        TrackerError: damaged; lists what is.
    """
    manifest = manifest or read_manifest(folder)
    try:
        problems = list(_problems(folder, manifest, trusted))
    except OSError as error:  # taken away, or not for this user to read
        raise TrackerError(f"{error.filename or folder}: {error.strerror}", "use another backup") from error
    if problems:
        listed = [f"  {problem}" for problem in problems[:NAMED]]
        more = [f"  and {len(problems) - NAMED} more"] if len(problems) > NAMED else []
        raise TrackerError(
            "\n".join([f"{folder} is damaged:", *listed, *more]), "use another backup; nothing was written"
        )
    return manifest


def _problems(folder: Path, manifest: Manifest, trusted: Collection[str]) -> Iterator[str]:
    expected = {entry.path: entry for entry in manifest.files}
    seen = set()
    for path, kind in _everything(folder):
        name = path.relative_to(folder).as_posix()
        if kind == "other":
            yield f"{name!r} is a link or no plain file"
        elif name == MANIFEST:
            continue
        elif name not in expected:
            yield f"{name!r} is not in the manifest"
        else:
            seen.add(name)
            if path.stat().st_size != expected[name].size:
                yield f"{name!r} has {path.stat().st_size:,} bytes instead of {expected[name].size:,}"
            elif name not in trusted and digest(path) != expected[name].sha256:
                yield f"{name!r} has another content: its SHA-256 differs"
    yield from (f"{name!r} is missing" for name in sorted(expected.keys() - seen))


def _everything(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file as "file", each thing that is neither file nor folder as "other"; follows no link."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            yield from _everything(Path(entry.path))
        else:
            yield Path(entry.path), "file" if stat.S_ISREG(mode) else "other"


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
