"""The raw files of a kind of dataset: are they here, are they whole, and one process at a time with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tracker.study.errors import DataDamaged, DataError, DataMissing
from tracker.vision.fetch import checksum
from tracker.vision.progress import Progress, Step
from tracker.vision.readers.raw import Reader


def unpack_archives(reader: Reader, raw: Path) -> None:
    """Unpack archives that were put in place by hand, after a look at their checksums."""
    for wanted in reader.downloads():
        if not wanted.matches(raw / wanted.name):
            raise DataDamaged(
                f"{raw / wanted.name}: is damaged: its {wanted.algorithm} is not {wanted.digest}",
                f"replace it with the file of {wanted.url}",
            )
    reader.unpack(raw)


def are_here(reader: Reader, raw: Path) -> bool:
    """Say whether the files, or the archives that hold them, are all there, without reading them."""
    return all((raw / file.path).is_file() for file in reader.files()) or all(
        (raw / wanted.name).is_file() for wanted in reader.downloads()
    )


def bad_files(reader: Reader, raw: Path) -> list[Path]:
    """Return the files that are not there, or not as they were published."""
    paths = {raw / file.path: file.md5 for file in reader.files()}
    return [path for path, md5 in paths.items() if not path.is_file() or checksum(path, "md5") != md5]


def download_bytes(reader: Reader) -> int:
    """Return the size of what is to be downloaded, as far as it is known."""
    return sum(wanted.bytes or 0 for wanted in reader.downloads())


def not_here(name: str, kind: str, reader: Reader) -> DataMissing:
    """Return the error that says the files are not here, and the cure."""
    size = f"{download_bytes(reader) / 1e6:,.0f} MB to download"
    return DataMissing(f"dataset {name} is not on this machine ({size})", f"tracker data fetch {kind}")


@contextmanager
def alone(lock_file: Path, name: str, progress: Progress) -> Iterator[None]:
    """Hold a lock between processes; say so if that means waiting."""
    lock = FileLock(lock_file)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress(Step(f"wait for another process that works on {name}", 0, 0, "images"))
            lock.acquire()
    except OSError as error:
        raise DataError(
            f"{lock_file}: cannot be written: {error.strerror}", "choose a place with --home DIR"
        ) from error
    try:
        yield
    finally:
        lock.release()
