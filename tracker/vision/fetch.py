"""Downloads: resumable, checked before they get their name; and archives, unpacked with care."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock

from tracker import __version__
from tracker.study.errors import DataDamaged, DataError, UsageError
from tracker.vision.progress import Progress, Step, silent

CHUNK = 1 << 20
TIMEOUT = 30.0
"""Seconds without a byte before a connection counts as lost."""
ATTEMPTS = 5
"""Connections tried in a row that bring nothing new."""
PAUSE = 1.0
"""Seconds before the second attempt; twice that before the third, and so on."""
MAX_UNPACKED_BYTES, MAX_UNPACKED_FILES = 1 << 30, 100
"""CIFAR's archives unpack to under 200 MB in fewer than ten files."""


@dataclass(frozen=True)
class Download:
    """A file of another machine, and how to know it.

    Args:
        url: http or https.
        name: what the file is called here.
        algorithm: of the checksum.
        digest: the checksum in hex, or its first digits.
        bytes: its size; None where it is not known beforehand.
    """

    url: str
    name: str
    algorithm: Literal["md5", "sha256"]
    digest: str
    bytes: int | None = None

    def at(self, mirror: str) -> Download:
        """Return the same file as found under the address `mirror`."""
        return Download(f"{mirror.rstrip('/')}/{self.name}", self.name, self.algorithm, self.digest, self.bytes)

    def matches(self, path: Path) -> bool:
        """Say whether the file at `path` is the one meant; false where there is none."""
        return path.is_file() and checksum(path, self.algorithm).startswith(self.digest)


def checksum(path: Path, algorithm: Literal["md5", "sha256"]) -> str:
    """Return a file's checksum in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def download(wanted: Download, folder: Path, *, progress: Progress = silent, timeout: float = TIMEOUT) -> Path:
    """Bring a file into `folder`, or leave the one there if it is the right one.

    What an interrupted download brought is kept, and continued by the next.

    Raises:
        DataError: the address cannot be reached, or the disk is full.
        DataDamaged: what came is not what was published.
        UsageError: an address that is neither http nor https.

    Writes: `folder`/NAME; NAME.part while under way.
    """
    path = folder / wanted.name
    if not wanted.url.startswith(("http://", "https://")):
        raise UsageError(f"{wanted.url}: is not an http or https address")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    with FileLock(folder / f".{wanted.name}.lock"):  # a second process waits, then finds the file
        if wanted.matches(path):
            return path
        part = path.with_name(f"{path.name}.part")
        _check_space(wanted, part)
        _receive_all(wanted, part, progress, timeout)
        if not wanted.matches(part):
            found = checksum(part, wanted.algorithm)
            part.unlink()
            raise DataDamaged(
                f"{wanted.url}: what came has {wanted.algorithm} {found}, not {wanted.digest}",
                f"run again; or put the right file at {path}",
            )
        os.replace(part, path)
    return path


def _check_space(wanted: Download, part: Path) -> None:
    present = part.stat().st_size if part.exists() else 0
    free = shutil.disk_usage(part.parent).free
    if wanted.bytes is not None and wanted.bytes - present > free:
        raise DataError(
            f"{part.parent}: {wanted.name} needs {wanted.bytes - present:,} bytes, and {free:,} are free",
            "free some space, or choose another place with --home DIR",
        )


def _receive_all(wanted: Download, part: Path, progress: Progress, timeout: float) -> None:
    """Receive until the file is whole, connecting again where a connection breaks."""
    attempts = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _receive(wanted, part, progress, timeout):
                return
            problem = "the connection broke off"
        except urllib.error.HTTPError as error:
            with error:
                problem = f"the server answers {error.code} {error.reason}"
            if error.code < 500 and error.code != http.HTTPStatus.TOO_MANY_REQUESTS:
                attempts = ATTEMPTS
        except urllib.error.URLError as error:
            problem = f"cannot be reached: {error.reason}"
            attempts = ATTEMPTS
        except (http.client.HTTPException, OSError) as error:
            problem = f"the connection broke off: {error or type(error).__name__}"
        now = part.stat().st_size if part.exists() else 0
        attempts = 0 if now > before else attempts + 1
        if attempts >= ATTEMPTS:
            kept = f" ({now:,} bytes are kept and continued)" if now else ""
            raise DataError(
                f"{wanted.url}: {problem}{kept}",
                f"run again once the network is there; or put the file by hand at {part.with_suffix('')}",
            )
        time.sleep(PAUSE * attempts)


def _receive(wanted: Download, part: Path, progress: Progress, timeout: float) -> bool:
    """Receive what one connection brings; say whether the file is whole."""
    start = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": f"norm-tracker/{__version__}"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(wanted.url, headers=headers)  # noqa: S310 (`download` checks the scheme)
    try:
        response = urllib.request.urlopen(request, timeout=timeout)  # noqa: S310 (likewise)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not start:
            raise
        error.close()
        if wanted.bytes == start or wanted.matches(part):
            return True  # it was whole already
        part.unlink()
        return False
    with response:
        continued = response.status == http.HTTPStatus.PARTIAL_CONTENT
        length = response.headers.get("Content-Length")
        total = int(length) + (start if continued else 0) if length else (wanted.bytes or 0)
        if wanted.bytes is not None and total != wanted.bytes:
            raise DataDamaged(
                f"{wanted.url}: would be {total:,} bytes, but {wanted.name} has {wanted.bytes:,}",
                "check the address; a proxy's or a login page often answers in a file's place",
            )
        done = _copy(response, part, start if continued else 0, total, f"download {wanted.name}", progress)
    return not total or done == total


def _copy(response: http.client.HTTPResponse, part: Path, done: int, total: int, task: str, progress: Progress) -> int:
    """Copy until the connection ends; return how long the file is now.

    Args:
        done: bytes that the file has and keeps.
        total: bytes it shall have; 0 if unknown.
    """
    progress(Step(task, done, total, "bytes"))
    with _appending(part, keep=done > 0) as write:
        while chunk := response.read1(CHUNK):
            write(chunk)
            done += len(chunk)
            if total and done > total:
                part.unlink()
                raise DataDamaged(
                    f"{response.url}: brings more than the {total:,} bytes it should", "check the address"
                )
            progress(Step(task, done, total, "bytes"))
    return done


@contextmanager
def _appending(part: Path, keep: bool) -> Iterator[Callable[[bytes], None]]:
    """Yield a function that appends to `part`; what goes wrong in it is the disk's fault, never the network's."""
    try:
        file = part.open("ab" if keep else "wb", buffering=0)
    except OSError as error:
        raise _cannot_write(part, error) from error

    def write(chunk: bytes) -> None:
        rest = memoryview(chunk)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:
            raise _cannot_write(part, error) from error

    with file:
        yield write
        os.fsync(file.fileno())


def extract_tar(archive: Path, folder: Path) -> None:
    """Extract an archive of plain files and folders, and nothing else.

    Raises:
        DataDamaged: it cannot be read, holds links or devices, would write outside `folder`, or is
            larger or has more files than any that is wanted.

    Writes: the archive's files, below `folder`.
    """
    cure = f"delete {archive} and fetch it again"
    files, size = 0, 0
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                files, size = files + 1, size + member.size
                if not (member.isreg() or member.isdir()):
                    raise DataDamaged(f"{archive}: {member.name!r} is a link or a device", cure)
                if files > MAX_UNPACKED_FILES or size > MAX_UNPACKED_BYTES:
                    limit = f"{MAX_UNPACKED_FILES} files or {MAX_UNPACKED_BYTES:,} bytes"
                    raise DataDamaged(f"{archive}: unpacks to more than {limit}", cure)
                tar.extract(member, folder, filter="data")
    except tarfile.FilterError as error:
        raise DataDamaged(f"{archive}: {error}", cure) from error
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataDamaged(f"{archive}: cannot be unpacked: {error}", cure) from error
    except OSError as error:
        raise _cannot_write(Path(error.filename or folder), error) from error


def _cannot_write(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be written: {error.strerror}", "free some space, or choose --home DIR")
