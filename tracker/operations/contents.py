"""What of a home belongs into a backup, and how files that change under one's hands are opened."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tracker.study.home import SCRATCH_NAME, Home
from tracker.tracking.journal import FILES, REFUSED, SUFFIX

MADE_AGAIN = ("cache",)
"""Folders whose content the program makes again by itself."""

FETCHED_AGAIN = ("data", "weights")
"""Folders whose content can be fetched and packed again; a backup takes them only when asked."""

TEMPORARY = re.compile(r"\..*\.[0-9a-f]{8}\.tmp|\.(verify|fetch)-[a-z0-9_]{8}|\.(part|removing|restoring)-.*")
"""Names of what is half written: of `replacing`, of compared and fetched artifacts, of backups and restores."""

HELD = (".lock", ".users", "-wal", "-shm", "-journal")
"""Endings of locks, and of what belongs to an open SQLite file."""

SQLITE_HEADER = b"SQLite format 3\0"
TRIES = 20
"""At a set of files that changes while it is opened."""


@dataclass
class Walk:
    """Files below a folder, and what was passed over although it is somebody's.

    Args:
        skipped: folders that are not looked into.
        left_out: grows while `files` runs: a line for each link and each special file.
    """

    root: Path
    skipped: Sequence[Path] = ()
    left_out: list[str] = field(default_factory=list)

    def files(self, folder: Path) -> Iterator[Path]:
        """Yield plain files, by name; what is removed meanwhile is not there."""
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            path = Path(entry.path)
            if passed_over(path.relative_to(self.root)) or path in self.skipped:
                continue
            try:
                # A folder right in the home may lie on another disk; deeper down a link is nobody's we know.
                mode = entry.stat(follow_symlinks=path.parent == self.root).st_mode
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(mode):
                yield from self.files(path)
            elif stat.S_ISREG(mode):
                yield path
            else:
                self.left_out.append(f"{path}: a link or no plain file")


def passed_over(relative: Path | PurePosixPath) -> bool:
    """Say whether what lies there under a home is a lock, half written, or a process's scratch."""
    name = relative.name
    scratch = len(relative.parts) == 2 and relative.parts[0] == "work" and SCRATCH_NAME.fullmatch(name) is not None
    return scratch or name.endswith(HELD) or TEMPORARY.fullmatch(name) is not None


def belongs(relative: PurePosixPath, with_data: bool = True) -> bool:
    """Say whether a file may be part of a backup, by its path under the home.

    Of the server's folder nothing but databases: its record names a process, its log is the machine's.
    """
    top = relative.parts[0]
    if top in MADE_AGAIN or (top in FETCHED_AGAIN and not with_data):
        return False
    if top == "server" and relative.suffix != ".db":
        return False
    return not any(passed_over(PurePosixPath(*relative.parts[: end + 1])) for end in range(len(relative.parts)))


def is_sqlite(path: Path) -> bool:
    """Say whether a file is a SQLite database."""
    try:
        with open(path, "rb") as file:
            return file.read(len(SQLITE_HEADER)) == SQLITE_HEADER
    except OSError:
        return False


@dataclass(frozen=True)
class Opened:
    """A file held open: it can be read to the end although it was removed from its folder.

    Args:
        size: bytes to read of it; None for all.
    """

    path: Path
    file: BinaryIO
    size: int | None = None


def open_states(folder: Path, stack: ExitStack) -> list[Opened]:
    """Open all files of one cell's training state as they were at one moment.

    A state names the file of its best weights, and both are replaced by newer ones while the cell
    trains. Opening takes microseconds, so the same names before and after mean one moment; what is
    removed later can still be read.
    """
    for _ in range(TRIES):
        with ExitStack() as attempt:
            try:
                before = sorted(folder.iterdir())
                wanted = [path for path in before if not passed_over(Path(path.name)) and path.is_file()]
                opened = [Opened(path, attempt.enter_context(open(path, "rb"))) for path in wanted]
                after = sorted(folder.iterdir())
            except FileNotFoundError:
                continue
            if before == after:
                stack.push(attempt.pop_all())
                return opened
    return []  # a cell that is faster than this loses nothing by starting over


def journals(home: Home) -> list[Path]:
    """Return the journals there are, those that MLflow refused a part of among them."""
    return sorted([*home.journal.glob(f"*{SUFFIX}"), *home.journal.glob(f"*{REFUSED}")])


def open_journal(path: Path, stack: ExitStack) -> list[Opened]:
    """Open a journal and the files it keeps; nothing where it was delivered meanwhile.

    Its files are kept before the line that names them is written, and removed after the journal is:
    whatever the bytes there are now name is there as long as the journal still is.
    """
    for _ in range(TRIES):
        with ExitStack() as attempt:
            try:
                journal = attempt.enter_context(open(path, "rb"))
                status = os.fstat(journal.fileno())
                opened = [Opened(path, journal, status.st_size)]
                for file in sorted(path.with_suffix(FILES).glob("*/*")):
                    opened.append(Opened(file, attempt.enter_context(open(file, "rb"))))
                if not os.path.samestat(status, path.stat()):
                    continue  # another journal of the same name by now
            except FileNotFoundError:
                if path.exists():
                    continue
                return []
            stack.push(attempt.pop_all())
            return opened
    return []
