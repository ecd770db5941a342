"""A bundle: studies on their way from one server to another, as a folder of lines and files.

    manifest.json               what this is, and the hash of every document below
    studies/NAME/*.json[l]      experiment, runs, sources, ledger, training states
    files/AB/ABCD...            contents, each under its SHA-256

Names of files inside come from this program alone: what artifacts are called stands in lines. A
bundle is input like any other, so everything in it is checked before anything is written anywhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tracker.study.errors import TrackerError, UsageError
from tracker.study.plain import parse_json
from tracker.study.recipe import Name
from tracker.tracking.artifacts import digest
from tracker.tracking.transfer.records import MovedFile, Sha256

FORMAT = 1
"""Grows when an older program could not read what a newer one writes."""
MANIFEST = "manifest.json"
MAX_DOCUMENT = 1 << 28
"""Bytes of a document, or of a line: a run of a million points has 40 MB."""

EXPERIMENT, RUNS = "experiment.json", "runs.jsonl"
SOURCES_EXPERIMENT, SOURCES = "sources.json", "sources.jsonl"
LEDGER, STATES = "ledger.json", "states.json"
DOCUMENTS = (EXPERIMENT, RUNS, SOURCES_EXPERIMENT, SOURCES, LEDGER, STATES)

Record = TypeVar("Record", bound=BaseModel)


class StudyPart(BaseModel):
    """What the manifest says of a study.

    Args:
        runs, cells, files, size: how many, and how many bytes.
        documents: the SHA-256 of each, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    runs: int
    cells: int
    files: int
    size: int
    documents: dict[str, Sha256]

    @property
    def origin(self) -> str:
        """The hash of everything that the bundle has of the study, files included; equal content, equal origin."""
        return hashlib.sha256(json.dumps(self.documents, sort_keys=True).encode()).hexdigest()


class Manifest(BaseModel):
    """What a bundle says of itself.

    Args:
        left_out: what the studies have and a bundle does not, a line each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: int
    program: str
    mlflow: str
    created: str
    studies: dict[Name, StudyPart] = Field(min_length=1)
    left_out: list[str]


class Bundle:
    """A bundle being read; made by `open_bundle`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._verified: set[str] = set()

    def has(self, study: str, document: str) -> bool:
        """Say whether the bundle has that document of a study."""
        return document in self.manifest.studies[study].documents

    def read(self, study: str, document: str, kind: type[Record]) -> Record:
        """Read a document of one piece. Raises: TrackerError."""
        return self._parsed(kind, self._text(study, document), f"studies/{study}/{document}")

    def read_plain(self, study: str, document: str) -> Any:
        """Read a document without a shape of its own. Raises: TrackerError."""
        try:
            return parse_json(self._text(study, document))
        except ValueError as error:
            raise self._damaged(f"studies/{study}/{document}", f"is not JSON: {error}") from error

    def read_lines(self, study: str, document: str, kind: type[Record]) -> Iterator[Record]:
        """Yield the records of a document, a line each. Raises: TrackerError."""
        place = f"studies/{study}/{document}"
        with open(self.folder / place, "rb") as file:
            for number in range(1, 1 << 62):
                line = file.readline(MAX_DOCUMENT + 1)
                if not line:
                    return
                if len(line) > MAX_DOCUMENT:
                    raise self._damaged(f"{place}, line {number}", f"is longer than {MAX_DOCUMENT >> 20} MiB")
                yield self._parsed(kind, line, f"{place}, line {number}")

    def content(self, file: MovedFile) -> Path:
        """Return where the content of a file lies, compared with its hash once.

        Raises:
            TrackerError: it is missing, altered or no plain file.
        """
        place = f"files/{file.sha256[:2]}/{file.sha256}"
        path = self.folder / place
        if file.sha256 not in self._verified:
            if path.is_symlink() or not path.is_file():
                raise self._damaged(place, f"is missing; it is the content of {file.path}")
            if path.stat().st_size != file.size or digest(path) != file.sha256:
                raise self._damaged(place, f"is truncated or altered; it is the content of {file.path}")
            self._verified.add(file.sha256)
        return path

    def check_documents(self) -> None:
        """Compare every document with its hash. Raises: TrackerError."""
        for study, part in self.manifest.studies.items():
            for document, sha256 in part.documents.items():
                place = f"studies/{study}/{document}"
                path = self.folder / place
                if document not in DOCUMENTS:
                    raise self._damaged(MANIFEST, f"names {document[:100]!r}, which no bundle has")
                if path.is_symlink() or not path.is_file():
                    raise self._damaged(place, "is missing")
                if digest(path) != sha256:
                    raise self._damaged(place, "is truncated or altered")
            if missing := {EXPERIMENT, RUNS} - part.documents.keys():
                raise self._damaged(MANIFEST, f"study {study} has no {min(missing)}")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep a second import of the bundle out: two at once would both make what neither finds."""
        with open(self.folder / MANIFEST, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise TrackerError(f"another process is importing {self.folder}", "wait for it") from error
            yield

    def damaged(self, study: str, document: str, problem: str) -> TrackerError:
        """Return the error for a document whose content cannot be meant."""
        return self._damaged(f"studies/{study}/{document}", problem)

    def _text(self, study: str, document: str) -> bytes:
        path = self.folder / "studies" / study / document
        if path.stat().st_size > MAX_DOCUMENT:
            raise self._damaged(f"studies/{study}/{document}", f"is larger than {MAX_DOCUMENT >> 20} MiB")
        return path.read_bytes()

    def _parsed(self, kind: type[Record], text: bytes, place: str) -> Record:
        try:
            return kind.model_validate_json(text)
        except ValidationError as error:
            raise self._damaged(place, first_problem(error)) from error

    def _damaged(self, place: str, problem: str) -> TrackerError:
        return TrackerError(f"{self.folder}: {place}: {problem}", "export it again, or copy the bundle again")


def open_bundle(folder: Path) -> Bundle:
    """Open a bundle and compare its documents with their hashes.

    Raises:
        UsageError: there is none, or a newer version of this program wrote it.
        TrackerError: it is damaged; names what.
    """
    path = folder / MANIFEST
    if not path.is_file() or path.is_symlink():
        raise UsageError(f"{folder} is no bundle: it has no {MANIFEST}", "accepted: what `tracker export-runs` wrote")
    try:
        if path.stat().st_size > MAX_DOCUMENT:
            raise ValueError(f"larger than {MAX_DOCUMENT >> 20} MiB")
        plain = parse_json(path.read_bytes())
        written = plain["format"] if isinstance(plain, dict) else None
        if isinstance(written, int) and written > FORMAT:
            raise UsageError(
                f"{folder} has format {written}, this program reads up to {FORMAT}; {plain.get('program')} wrote it",
                "update the program (pip install --upgrade norm-tracker)",
            )
        manifest = Manifest.model_validate(plain)
    except (ValueError, RecursionError, KeyError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise TrackerError(f"{folder}: {MANIFEST}: {problem}", "export it again, or copy the bundle again") from error
    bundle = Bundle(folder, manifest)
    bundle.check_documents()
    return bundle


def first_problem(error: ValidationError) -> str:
    """Return where a record is wrong, and how, in a line."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
