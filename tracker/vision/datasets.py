"""Datasets by name: is it here, what would bring it, open it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from tracker.study.errors import DataDamaged, DataError, DataMissing, UsageError
from tracker.study.home import Home
from tracker.study.recipe import DATASET_KINDS, DatasetSpec
from tracker.study.study import Cell, content_id
from tracker.vision.fetch import checksum, download
from tracker.vision.images import ImageSet
from tracker.vision.packed import Manifest, open_packed, read_manifest, verify_packed
from tracker.vision.packing import write_packed
from tracker.vision.progress import Progress, Step, silent
from tracker.vision.readers import reader_of
from tracker.vision.readers.raw import Reader, folder_path

BUILT_IN = {kind: DatasetSpec(kind=kind) for kind in DATASET_KINDS if kind != "folder"}
"""Datasets that need no `datasets` section, by name."""

PACKED_NAME = re.compile(r"[^.].*-[0-9a-f]{12}")

State = Literal["ready", "raw", "missing", "damaged"]


@dataclass(frozen=True)
class DatasetState:
    """Where a dataset stands on this machine.

    Args:
        state: ready: packed; raw: its files are here and are packed at first use; missing: they are
            not; damaged: something is here that cannot be used.
        bytes: on disk if ready; else what the download, or the folder of images, has; None if unknown.
        where: the packed folder if ready, else where the raw files are or belong; None if they come
            with an installed package.
        problem, cure: what is wrong and what to do about it; None if nothing is.
        train, test, classes: counts, and
        shape: (C, H, W); None where they are known only once the images are packed.
        skipped: files of the folder passed over as hidden or no images.
        fingerprint: of the packed images.
    """

    name: str
    kind: str
    state: State
    bytes: int | None
    where: Path | None
    problem: str | None = None
    cure: str | None = None
    train: int | None = None
    test: int | None = None
    classes: int | None = None
    shape: tuple[int, int, int] | None = None
    skipped: int = 0
    fingerprint: str | None = None


def datasets_of(cells: Iterable[Cell]) -> dict[str, DatasetSpec]:
    """Return the datasets that cells and their sources use, by name."""
    found = {}
    for cell in cells:
        found[cell.recipe.dataset] = cell.dataset
        if cell.source is not None and cell.source_dataset is not None:
            found[cell.source.dataset] = cell.source_dataset
    return found


def packed_folder(name: str, spec: DatasetSpec, home: Home) -> Path:
    """Return where the dataset is, or would be, packed: one folder for each name and content."""
    return home.data / "packed" / f"{name}-{content_id(spec.identity())}"


def packed_folders(home: Home, names: Sequence[str] = ()) -> list[Path]:
    """Return the folders of packed datasets: all there are, or those of the names given.

    Raises:
        DataMissing: a name that is not packed.
    """
    folders = sorted(path for path in (home.data / "packed").glob("*") if PACKED_NAME.fullmatch(path.name))
    if not names:
        return folders
    chosen = []
    for name in names:
        own = [path for path in folders if path.name.rpartition("-")[0] == name]
        if not own:
            raise DataMissing(f"dataset {name} is not packed under {home.data}", "tracker data list")
        chosen += own
    return chosen


def raw_folder(kind: str, home: Home) -> Path:
    """Return where a kind's raw files belong."""
    return home.data / "raw" / kind


def describe(name: str, spec: DatasetSpec, home: Home) -> DatasetState:
    """Say where a dataset stands, without decoding or writing anything."""
    folder = packed_folder(name, spec, home)
    try:
        manifest = read_manifest(folder)
        if manifest is None or not _is_current(manifest, name, spec):
            return _describe_raw(name, spec, home)
    except DataMissing as error:
        return DatasetState(name, spec.kind, "missing", None, folder_path(spec), error.message, error.cure)
    except DataError as error:
        return DatasetState(name, spec.kind, "damaged", None, folder, error.message, error.cure)
    count, *shape = manifest.shapes["train"]
    return DatasetState(
        name,
        spec.kind,
        "ready",
        manifest.bytes,
        folder,
        train=count,
        test=manifest.shapes["test"][0],
        classes=len(manifest.classes),
        shape=(shape[0], shape[1], shape[2]),
        skipped=manifest.skipped,
        fingerprint=manifest.fingerprint,
    )


def _describe_raw(name: str, spec: DatasetSpec, home: Home) -> DatasetState:
    reader, raw = reader_of(spec.kind), raw_folder(spec.kind, home)
    if spec.path is not None:
        origin = reader.origin(name, spec)
        return DatasetState(name, spec.kind, "raw", origin["bytes"], Path(origin["path"]))
    missing = None if _is_here(reader, raw) else _missing(name, spec.kind, reader)
    facts = reader.facts(spec)
    return DatasetState(
        name,
        spec.kind,
        "missing" if missing else "raw",
        _download_bytes(reader) or None,
        raw if reader.files() else None,
        missing.message if missing else None,
        missing.cure if missing else None,
        train=facts.train if facts else None,
        test=facts.test if facts else None,
        classes=facts.classes if facts else None,
        shape=facts.shape if facts else None,
    )


def open_dataset(
    name: str, spec: DatasetSpec, home: Home, *, verify: bool = False, progress: Progress = silent
) -> ImageSet:
    """Open a dataset, and pack it first if only its raw files are here.

    Of several processes one packs and the others wait for it.

    Args:
        verify: compare the packed files with their SHA-256 first, which reads them whole.

    Raises:
        DataMissing: neither packed nor raw; says what brings it.
        DataDamaged: a file is truncated or altered.
        DataError: the images cannot be used as they are, or the disk is full.

    Writes: the packed folder, if it is not there or the folder of images has changed.
    """
    folder = packed_folder(name, spec, home)
    with _alone(home.make(folder.parent) / f".{folder.name}.lock", name, progress):
        manifest = read_manifest(folder)
        if manifest is None or not _is_current(manifest, name, spec):
            manifest = _pack(name, spec, home, folder, progress)
        elif verify:
            verify_packed(folder, progress)
        return open_packed(folder, manifest, name=name)


def _is_current(manifest: Manifest, name: str, spec: DatasetSpec) -> bool:
    """Say whether a folder of images is still what was packed; the other kinds never change.

    Raises:
        DataMissing: the folder is not there, and what was packed came from another.
    """
    if spec.path is None:
        return True
    try:
        return reader_of(spec.kind).origin(name, spec) == manifest.origin
    except DataMissing as error:
        packed_from = manifest.origin["path"]
        if packed_from == str(folder_path(spec)):
            return True  # the folder has gone since; its images are all here
        cure = f"{error.cure}; for the images packed earlier: --set datasets.{name}.path={packed_from}"
        raise DataMissing(error.message, cure) from error


def _pack(name: str, spec: DatasetSpec, home: Home, folder: Path, progress: Progress) -> Manifest:
    reader, raw = reader_of(spec.kind), raw_folder(spec.kind, home)
    if reader.files():
        with _alone(home.make(raw) / ".lock", name, progress):
            if not _is_here(reader, raw):
                raise _missing(name, spec.kind, reader)
            if not all((raw / file.path).is_file() for file in reader.files()):
                _unpack(reader, raw)  # the archive was put there by hand
            if bad := _bad_files(reader, raw):
                raise DataDamaged(
                    f"{bad[0]}: is damaged: its MD5 is not the published one", f"tracker data fetch {spec.kind}"
                )
    found = reader.read(name, spec, raw, progress)
    return write_packed(folder, found, name=name, kind=spec.kind, identity=spec.identity(), progress=progress)


def fetch_dataset(kind: str, home: Home, *, progress: Progress = silent, mirror: str | None = None) -> None:
    """Download a built-in dataset's raw files; what is here and whole is left alone.

    Args:
        mirror: an address under which the files have their published names; None: where they are published.

    Raises:
        UsageError: not a dataset that is downloaded.
        DataError: the network or the disk fails; what came is kept, and continued next time.
        DataDamaged: what came is not what was published.

    Writes: the kind's raw folder.
    """
    if kind not in BUILT_IN:
        raise UsageError(f"{kind!r} is not downloaded", f"accepted: {', '.join(BUILT_IN)}")
    reader, raw = reader_of(kind), raw_folder(kind, home)
    if not reader.files():
        return  # it comes with a package
    with _alone(home.make(raw) / ".lock", kind, progress):
        if not _bad_files(reader, raw):
            return
        for wanted in reader.downloads():
            download(wanted.at(mirror) if mirror else wanted, raw, progress=progress)
        reader.unpack(raw)
        if bad := _bad_files(reader, raw):
            raise DataDamaged(f"{bad[0]}: is not what was published, though its archive is")


def _unpack(reader: Reader, raw: Path) -> None:
    """Unpack archives that were put in place by hand, after a look at their checksums."""
    for wanted in reader.downloads():
        if not wanted.matches(raw / wanted.name):
            raise DataDamaged(
                f"{raw / wanted.name}: is damaged: its {wanted.algorithm} is not {wanted.digest}",
                f"replace it with the file of {wanted.url}",
            )
    reader.unpack(raw)


def _is_here(reader: Reader, raw: Path) -> bool:
    """Say whether the files, or the archives that hold them, are all there, without reading them."""
    return all((raw / file.path).is_file() for file in reader.files()) or all(
        (raw / wanted.name).is_file() for wanted in reader.downloads()
    )


def _bad_files(reader: Reader, raw: Path) -> list[Path]:
    paths = {raw / file.path: file.md5 for file in reader.files()}
    return [path for path, md5 in paths.items() if not path.is_file() or checksum(path, "md5") != md5]


def _download_bytes(reader: Reader) -> int:
    return sum(wanted.bytes or 0 for wanted in reader.downloads())


def _missing(name: str, kind: str, reader: Reader) -> DataMissing:
    size = f"{_download_bytes(reader) / 1e6:,.0f} MB to download"
    return DataMissing(f"dataset {name} is not on this machine ({size})", f"tracker data fetch {kind}")


@contextmanager
def _alone(lock_file: Path, name: str, progress: Progress) -> Iterator[None]:
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
