"""Write a bundle: under a temporary name, content by content, the manifest last."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tracker import __version__
from tracker.operations.bundle import FORMAT, MANIFEST, Manifest, StudyPart
from tracker.study.errors import TrackerError, UsageError
from tracker.study.home import replacing
from tracker.tracking.artifacts import digest


class BundleWriter:
    """A bundle being written under a temporary name.

    Args:
        folder: where it is built; `writing` gives it its name at the end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._studies: dict[str, StudyPart] = {}
        self._documents: dict[str, str] = {}
        self._files: dict[str, int] = {}
        self._count = 0
        (folder / "files").mkdir()

    def keep(self, path: Path) -> tuple[str, int]:
        """Take a file's content; return its SHA-256 and size.

        Writes: a copy, once for equal contents.
        """
        sha256, size = digest(path), path.stat().st_size
        stored = self.folder / "files" / sha256[:2] / sha256
        if not stored.exists():
            stored.parent.mkdir(exist_ok=True)
            with replacing(stored) as temporary:
                shutil.copyfile(path, temporary)
                if digest(temporary) != sha256:
                    raise TrackerError(f"{path} changed while it was read", "end what writes to it, or use --live")
        self._files[sha256] = size
        self._count += 1
        return sha256, size

    @contextmanager
    def lines(self, study: str, document: str) -> Iterator[Any]:
        """Yield a function that adds a record as a line."""
        path = self._path(study, document)
        with open(path, "x", encoding="utf-8") as file:
            yield lambda record: file.write(record.model_dump_json() + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._documents[document] = digest(path)

    def document(self, study: str, document: str, content: BaseModel | Any) -> None:
        """Add a document of one piece."""
        path = self._path(study, document)
        text = content.model_dump_json() if isinstance(content, BaseModel) else json.dumps(content, sort_keys=True)
        with open(path, "x", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._documents[document] = digest(path)

    def end_study(self, study: str, runs: int, cells: int) -> StudyPart:
        """Note what was written since the last study as this one's."""
        self._studies[study] = StudyPart(
            runs=runs, cells=cells, files=self._count, size=sum(self._files.values()), documents=self._documents
        )
        self._documents, self._files, self._count = {}, {}, 0
        return self._studies[study]

    def close(self, mlflow: str, left_out: list[str]) -> None:
        """Write the manifest, after everything it speaks of."""
        manifest = Manifest(
            format=FORMAT,
            program=f"norm-tracker {__version__}",
            mlflow=mlflow,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            studies=self._studies,
            left_out=left_out,
        )
        with replacing(self.folder / MANIFEST) as path:
            path.write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def _path(self, study: str, document: str) -> Path:
        folder = self.folder / "studies" / study
        folder.mkdir(parents=True, exist_ok=True)
        return folder / document


@contextmanager
def writing(target: Path) -> Iterator[BundleWriter]:
    """Yield a writer; the bundle gets its name when the block has ended well, and leaves nothing otherwise.

    Raises:
        UsageError: there is something of that name.

    Writes: `target`.
    """
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target} is there already", "name a folder that is not there; nothing is overwritten")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as beside:
            folder = Path(beside, "bundle")
            folder.mkdir()
            yield BundleWriter(folder)
            folder.rename(target)
    except OSError as error:
        raise TrackerError(
            f"{target} cannot be written: {error.strerror or error}", "name a place with room that you may write to"
        ) from error
