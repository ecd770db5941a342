"""Studies out of a bundle, into MLflow and the trial database of another place."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from tracker.ledger.ledger import local_url
from tracker.ledger.transfer import holds_study, put_study
from tracker.operations.bundle import (
    EXPERIMENT,
    LEDGER,
    RUNS,
    SOURCES,
    SOURCES_EXPERIMENT,
    STATES,
    Bundle,
    first_problem,
)
from tracker.study.errors import StudyError
from tracker.study.home import Home, replacing
from tracker.study.load import parse_study
from tracker.study.study import content_id
from tracker.tracking.artifacts import FILE_NAME
from tracker.tracking.client import talking_to
from tracker.tracking.delivery import KEY_TAG
from tracker.tracking.run import KEY
from tracker.tracking.states import StateExchange
from tracker.tracking.transfer.models import check_models_free, write_models, write_registered
from tracker.tracking.transfer.records import Ids, MovedExperiment, MovedFile, MovedRun, RunId
from tracker.tracking.transfer.writing import ExperimentWriter, check_free
from tracker.tracking.writing import SOURCES as SOURCES_NAME
from tracker.vision.progress import Progress, Step

RunKey = Annotated[str, Field(pattern=rf"^{KEY.pattern}$")]


class _Cell(BaseModel):
    """What of a cell's row would do harm if it were something else; its other columns the database checks."""

    model_config = ConfigDict(strict=True)

    cell_id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    name: str
    identity: dict[str, Any]
    state: Literal["WAITING", "RUNNING", "COMPLETE", "FAIL", "PRUNED"]
    token: Annotated[int, Field(ge=0)]
    trial_number: int | None
    run_id: RunId | None
    run_key: RunKey | None


class _Ledger(BaseModel):
    """The shape of a bundle's `ledger.json`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    schema_: str = Field(alias="schema")
    optuna: str
    study: dict[str, Any]
    cells: list[dict[str, Any]]
    trials: dict[str, list[dict[str, Any]]]


class _States(RootModel[dict[RunKey, list[MovedFile]]]):
    """The shape of a bundle's `states.json`."""


@dataclass(frozen=True)
class Imported:
    """What became of a study.

    Args:
        new_runs: that were not there, or not whole; 0 for a study that was imported before.
        cells: put into the trial database now.
    """

    study: str
    experiment_id: str
    runs: int
    new_runs: int
    cells: int


def check_bundle(bundle: Bundle, tell: Progress) -> None:
    """Read a bundle from its first to its last byte, and see that everything in it can be meant.

    Raises:
        TrackerError: something cannot; names document and line.
    """
    for study in bundle.manifest.studies:
        files: list[MovedFile] = []
        seen: set[str] = set()
        for document in (RUNS, SOURCES):
            for run in bundle.read_lines(study, document, MovedRun) if bundle.has(study, document) else ():
                if run.run_id in seen:
                    raise bundle.damaged(study, document, f"run {run.run_id} is there twice")
                if not KEY.fullmatch(run.tags.get(KEY_TAG, "a")):
                    raise bundle.damaged(study, document, f"run {run.run_id}: its tag {KEY_TAG} cannot name a journal")
                seen.add(run.run_id)
                files += run.files
        experiment = bundle.read(study, EXPERIMENT, MovedExperiment)
        if experiment.name != study:
            raise bundle.damaged(study, EXPERIMENT, f"is of {experiment.name!r}")
        if bundle.has(study, SOURCES):
            bundle.read(study, SOURCES_EXPERIMENT, MovedExperiment)
        files += [file for model in experiment.models for file in model.files]
        if bundle.has(study, LEDGER):
            _ledger(bundle, study)
            files += [file for files in _states(bundle, study).values() for file in files]
        for number, file in enumerate(files):
            tell(Step(f"check {study}", number, len(files), "files"))
            bundle.content(file)
        tell(Step(f"check {study}", len(files), len(files), "files"))


def import_runs(bundle: Bundle, home: Home, uri: str, storage: str | None, tell: Progress) -> Iterator[Imported]:
    """Import the studies of a checked bundle one by one; what is there from an earlier try is not made twice.

    Args:
        uri: of a tracking server.
        storage: the trial database's URL, None for the local one.

    Raises:
        TrackerError: a study, an experiment or a model of a name is there and is not the bundle's.

    Writes: MLflow, the trial database, and training states under `home.work`, or with `storage` to the
        artifact store, where every machine finds them.
    """
    home.make(home.root)
    url = storage or local_url(home)
    with bundle.alone():
        for study, part in bundle.manifest.studies.items():  # all obstacles before the first run is made
            with talking_to(uri) as client:
                check_free(client, uri, study, part.origin)
                registered = bundle.read(study, EXPERIMENT, MovedExperiment).registered
                check_models_free(client, uri, registered, part.origin)
            if bundle.has(study, LEDGER):
                holds_study(url, study, part.origin)
        for study in bundle.manifest.studies:
            with tempfile.TemporaryDirectory(prefix="tracker-") as scratch:
                yield _StudyImport(bundle, home, uri, url, storage is not None, Path(scratch), tell).write(study)


class _StudyImport:
    """The import of one study."""

    def __init__(
        self, bundle: Bundle, home: Home, uri: str, url: str, shared: bool, scratch: Path, tell: Progress
    ) -> None:
        self._bundle = bundle
        self._home = home
        self._uri = uri
        self._url = url
        self._shared = shared
        self._scratch = scratch
        self._tell = tell
        self._ids = Ids()

    def write(self, study: str) -> Imported:
        """Make what is missing: sources, runs, models, and last the trial database's part, from which workers work."""
        bundle, origin = self._bundle, self._bundle.manifest.studies[study].origin
        if bundle.has(study, SOURCES):
            of_sources = bundle.read(study, SOURCES_EXPERIMENT, MovedExperiment)
            sources = self._writer(SOURCES_NAME, of_sources.experiment_id, None)
            self._runs(sources, study, SOURCES)
        experiment = bundle.read(study, EXPERIMENT, MovedExperiment)
        writer = self._writer(study, experiment.experiment_id, origin)
        for run in bundle.read_lines(study, RUNS, MovedRun):
            writer.create(run)
        write_models(self._uri, writer.experiment_id, experiment.models, bundle.content, self._scratch, self._ids)
        runs, new = self._runs(writer, study, RUNS)
        for model in experiment.registered:
            write_registered(self._uri, model, origin, self._ids)
        if not writer.was_whole:
            writer.describe(experiment)
        cells = self._ledger(study, origin) if bundle.has(study, LEDGER) else 0
        if not writer.was_whole:
            writer.close(experiment.deleted)
        return Imported(study, writer.experiment_id, runs, new, cells)

    def _writer(self, name: str, experiment_id: str, origin: str | None) -> ExperimentWriter:
        return ExperimentWriter(self._uri, self._bundle.content, self._scratch, self._ids, name, experiment_id, origin)

    def _runs(self, writer: ExperimentWriter, study: str, document: str) -> tuple[int, int]:
        """Make and fill the runs of a document; return how many there are, and how many were not whole."""
        total = 0
        for run in self._bundle.read_lines(study, document, MovedRun):
            writer.create(run)  # all of them first: one names others
            total += 1
        new = 0
        for number, run in enumerate(self._bundle.read_lines(study, document, MovedRun)):
            self._tell(Step(f"import {writer.name}", number, total, "runs"))
            if not writer.is_whole(run.run_id):
                writer.fill(run)
                new += 1
        self._tell(Step(f"import {writer.name}", total, total, "runs"))
        return total, new

    def _ledger(self, study: str, origin: str) -> int:
        """Put the training states where workers look, then the study into the trial database."""
        if holds_study(self._url, study, origin):
            return 0
        for run_key, files in _states(self._bundle, study).items():
            folder = self._scratch / run_key if self._shared else self._home.work / run_key
            folder.mkdir(parents=True, exist_ok=True)
            for file in files:
                with replacing(folder / file.path) as path:
                    shutil.copyfile(self._bundle.content(file), path)
            if self._shared:
                StateExchange(self._uri, study, run_key).store([folder / file.path for file in files])
        ledger = _ledger(self._bundle, study)
        put_study(self._url, study, ledger, origin, self._ids.rewrite, self._ids.experiments)
        return len(ledger["cells"])


def _ledger(bundle: Bundle, study: str) -> dict[str, Any]:
    """Return a bundle's part of a trial database, checked.

    Raises:
        TrackerError: it cannot be meant.
    """
    plain: dict[str, Any] = bundle.read_plain(study, LEDGER)
    try:
        checked = _Ledger.model_validate(plain)
        for number, row in enumerate(checked.cells):
            cell = _Cell.model_validate(row)
            if content_id(cell.identity) != cell.cell_id:
                raise bundle.damaged(study, LEDGER, f"cells.{number}: {cell.cell_id} is not the hash of its identity")
        document = checked.study.get("document")
        if document is not None and parse_study(document, file=f"{study} of the bundle").name != study:
            raise bundle.damaged(study, LEDGER, f"study.document: is not of {study!r}")
    except ValidationError as error:
        raise bundle.damaged(study, LEDGER, first_problem(error)) from error
    except (StudyError, ValueError, TypeError) as error:
        raise bundle.damaged(study, LEDGER, f"study.document: {error}") from error
    return plain


def _states(bundle: Bundle, study: str) -> dict[str, list[MovedFile]]:
    """Return the training states of a study's cells by run key, checked.

    Raises:
        TrackerError: one has a name that cannot be meant.
    """
    states = bundle.read(study, STATES, _States).root
    for files in states.values():
        for file in files:
            if not FILE_NAME.fullmatch(file.path):
                raise bundle.damaged(study, STATES, f"{file.path[:100]!r} cannot name a training state")
    return states
