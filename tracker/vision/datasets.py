"""Datasets by name: is it here, what would bring it, open it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tracker.study.errors import DataDamaged, DataMissing, TrackerError, UsageError
from tracker.study.home import Home
from tracker.study.recipe import DATASET_KINDS, DatasetSpec, dataset_names
from tracker.study.study import Cell, content_id
from tracker.vision.fetch import download
from tracker.vision.images import ImageSet
from tracker.vision.packed import Manifest, open_packed, read_manifest, verify_packed
from tracker.vision.packing import write_packed
from tracker.vision.progress import Progress, silent
from tracker.vision.raw_files import alone, are_here, bad_files, download_bytes, not_here, unpack_archives
from tracker.vision.readers import reader_of
from tracker.vision.readers.installed import InstalledReader
from tracker.vision.readers.raw import folder_path

BUILT_IN = {kind: DatasetSpec(kind=kind) for kind in DATASET_KINDS if kind != "folder"}
"""The program's own datasets that need no `datasets` section, by name."""

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


def ready_made() -> dict[str, DatasetSpec]:
    """Return the datasets that need no `datasets` section, by name: the built-in ones and those of packages."""
    return BUILT_IN | {name: DatasetSpec(kind=name) for name in dataset_names() if not _needs_keys(name)}


def _needs_keys(kind: str) -> bool:
    try:
        reader = reader_of(kind)
    except TrackerError:  # a package that does not work: `describe` tells what is wrong with it
        return False
    return isinstance(reader, InstalledReader) and bool(reader.needs)


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
    """Say where a dataset stands, without decoding or writing anything.

    Raises:
        UsageError: `spec` has a key that its kind does not take, or lacks one that it needs.
    """
    folder = packed_folder(name, spec, home)
    try:
        manifest = read_manifest(folder)
        if manifest is None or not _is_current(manifest, name, spec):
            return _describe_raw(name, spec, home)
    except DataMissing as error:
        where = folder_path(spec) if spec.path is not None else None
        return DatasetState(name, spec.kind, "missing", None, where, error.message, error.cure)
    except UsageError:
        raise
    except TrackerError as error:  # a package whose reader does not work is no better than a damaged file
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
    origin = reader.origin(name, spec)
    if spec.path is not None and not reader.files():
        return DatasetState(name, spec.kind, "raw", origin["bytes"], Path(origin["path"]))
    missing = None if are_here(reader, raw) else not_here(name, spec.kind, reader)
    facts = reader.facts(spec)
    return DatasetState(
        name,
        spec.kind,
        "missing" if missing else "raw",
        download_bytes(reader) or None,
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
    with alone(home.make(folder.parent) / f".{folder.name}.lock", name, progress):
        manifest = read_manifest(folder)
        if manifest is None or not _is_current(manifest, name, spec):
            manifest = _pack(name, spec, home, folder, progress)
        elif verify:
            verify_packed(folder, progress)
        return open_packed(folder, manifest, name=name)


def _is_current(manifest: Manifest, name: str, spec: DatasetSpec) -> bool:
    """Say whether a folder, or a package's dataset, is still what was packed; the other kinds never change.

    Raises:
        DataMissing: the folder is not there, and what was packed came from another.
    """
    if spec.path is None and spec.kind in DATASET_KINDS:
        return True  # without importing its reader
    try:
        return reader_of(spec.kind).origin(name, spec) == manifest.origin
    except DataMissing as error:
        packed_from = manifest.origin.get("path")
        if spec.path is None or packed_from is None:
            raise
        if packed_from == str(folder_path(spec)):
            return True  # the folder has gone since; its images are all here
        cure = f"{error.cure}; for the images packed earlier: --set datasets.{name}.path={packed_from}"
        raise DataMissing(error.message, cure) from error


def _pack(name: str, spec: DatasetSpec, home: Home, folder: Path, progress: Progress) -> Manifest:
    reader, raw = reader_of(spec.kind), raw_folder(spec.kind, home)
    if reader.files():
        with alone(home.make(raw) / ".lock", name, progress):
            if not are_here(reader, raw):
                raise not_here(name, spec.kind, reader)
            if not all((raw / file.path).is_file() for file in reader.files()):
                unpack_archives(reader, raw)  # the archive was put there by hand
            if bad := bad_files(reader, raw):
                raise DataDamaged(
                    f"{bad[0]}: is damaged: its MD5 is not the published one", f"tracker data fetch {spec.kind}"
                )
    found = reader.read(name, spec, raw, progress)
    return write_packed(folder, found, name=name, kind=spec.kind, identity=spec.identity(), progress=progress)


def fetch_dataset(kind: str, home: Home, *, progress: Progress = silent, mirror: str | None = None) -> None:
    """Download the raw files of a kind that has some; what is here and whole is left alone.

    Args:
        mirror: an address under which the files have their published names; None: where they are published.

    Raises:
        UsageError: not a dataset that is downloaded.
        DataError: the network or the disk fails; what came is kept, and continued next time.
        DataDamaged: what came is not what was published.

    Writes: the kind's raw folder.
    """
    if kind not in (names := dataset_names()):
        raise UsageError(f"{kind!r} is not downloaded", f"accepted: {', '.join(names)}")
    reader, raw = reader_of(kind), raw_folder(kind, home)
    if not reader.files():
        return  # it comes with a package
    with alone(home.make(raw) / ".lock", kind, progress):
        if not bad_files(reader, raw):
            return
        for wanted in reader.downloads():
            download(wanted.at(mirror) if mirror else wanted, raw, progress=progress)
        reader.unpack(raw)
        if bad := bad_files(reader, raw):
            raise DataDamaged(f"{bad[0]}: is not what was published, though its archive is")
