"""Studies out of MLflow and the trial database, into a bundle."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tracker.ledger.ledger import Ledger, local_url
from tracker.ledger.transfer import take_study
from tracker.operations.bundle import (
    EXPERIMENT,
    LEDGER,
    RUNS,
    SOURCES,
    SOURCES_EXPERIMENT,
    STATES,
    StudyPart,
)
from tracker.operations.packing import BundleWriter, writing
from tracker.study.errors import TrackerError, UsageError
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.tracking.artifacts import FILE_NAME
from tracker.tracking.journal import held_journals, left_journals
from tracker.tracking.reading import studies
from tracker.tracking.records import StudyRecord
from tracker.tracking.transfer.reading import ExperimentReader
from tracker.tracking.transfer.records import MovedFile
from tracker.tracking.writing import SOURCES as SOURCES_NAME
from tracker.tracking.writing import study_key
from tracker.vision.progress import Progress, Step


@dataclass(frozen=True)
class Exported:
    """What became of an export.

    Args:
        parts: by study.
        left_out: what was not carried, a sentence each.
    """

    parts: dict[str, StudyPart]
    left_out: tuple[str, ...]


def export_runs(
    home: Home,
    uri: str,
    storage: str | None,
    names: Sequence[str] | None,
    target: Path,
    tell: Progress,
    live: bool = False,
) -> Exported:
    """Write studies into a bundle: everything MLflow and the trial database have of them.

    Args:
        uri: of MLflow; a home's SQLite file will do.
        storage: the trial database's URL, None for the local one, which need not exist.
        names: of studies; None means all.
        live: also while workers run; what they work on is carried as it stands and runs again there.

    Raises:
        UsageError: no such study, or `target` is there.
        TrackerError: workers run, or results have not reached MLflow.

    Writes: `target`.
    """
    known = {record.name: record for record in studies(uri)}
    for name in names or ():
        if name not in known:
            raise UsageError(f"MLflow has no study {name!r}", f"studies there: {', '.join(sorted(known)) or 'none'}")
    chosen = sorted(known) if names is None else sorted(set(names))
    if not chosen:
        raise UsageError("MLflow has no studies, so there is nothing to export", "tracker sweep begins one")
    url = storage or (local_url(home) if home.trials_db.exists() else None)
    if not live:
        _check_idle(home, url, chosen)
    left_out: list[str] = []
    with writing(target) as bundle, tempfile.TemporaryDirectory(prefix="tracker-") as scratch:
        parts = {
            name: _StudyExport(home, uri, url, bundle, Path(scratch), tell).write(known[name], left_out)
            for name in chosen
        }
        bundle.close(version("mlflow"), left_out)
    return Exported(parts, tuple(left_out))


def _check_idle(home: Home, url: str | None, names: Sequence[str]) -> None:
    """See that nothing about the studies is on its way.

    Raises:
        TrackerError: something is.
    """
    cure = "let them end, or `tracker sweep --study NAME --pause`; or export with --live, as they stand"
    keys = {study_key(name) for name in names}
    if url is not None:
        with Ledger(url) as ledger:
            for name in names:
                rows = ledger.rows(name, in_grid=False)
                keys |= {row.run_key for row in rows if row.run_key is not None}
                running = [row.worker for row in rows if row.state == "RUNNING" and not row.expired]
                if running:
                    shown = ", ".join(sorted({str(worker) for worker in running})[:3])
                    raise TrackerError(f"{len(running)} cells of {name} are being worked on, by {shown}", cure)
    if keys & held_journals(home):
        raise TrackerError(f"a process is writing runs of {', '.join(names)}: its journal is in {home.journal}", cure)
    if left := sorted(name for name, key in left_journals(home).items() if key in keys):
        raise TrackerError(
            f"results of {', '.join(left[:3])} have not reached MLflow yet: they lie in {home.journal}",
            "`tracker status --study NAME` delivers them; or export with --live, without them",
        )


class _StudyExport:
    """The export of one study."""

    def __init__(
        self, home: Home, uri: str, url: str | None, bundle: BundleWriter, scratch: Path, tell: Progress
    ) -> None:
        self._home = home
        self._uri = uri
        self._url = url
        self._bundle = bundle
        self._scratch = scratch
        self._tell = tell

    def write(self, record: StudyRecord, left_out: list[str]) -> StudyPart:
        """Write all of a study; the trial database first, since MLflow may be ahead of it but never behind."""
        name = record.name
        ledger = take_study(self._url, name) if self._url is not None else None
        if ledger is not None:
            self._bundle.document(name, LEDGER, ledger)
            self._bundle.document(name, STATES, self._states(ledger))
        reader = ExperimentReader(self._uri, self._bundle.keep, self._scratch, name)
        run_ids = self._runs(reader, name, RUNS, None)
        self._bundle.document(name, EXPERIMENT, reader.experiment(run_ids))
        wanted = {cell.source_id for cell in parse_study(record.document, file=f"study {name}").cells} - {None}
        if wanted:
            sources = ExperimentReader(self._uri, self._bundle.keep, self._scratch, SOURCES_NAME)
            run_ids_of_sources = self._runs(sources, name, SOURCES, {str(source) for source in wanted})
            document = sources.experiment(run_ids_of_sources)
            self._bundle.document(
                name, SOURCES_EXPERIMENT, document.model_copy(update={"models": [], "registered": []})
            )
        left_out += reader.left_out
        return self._bundle.end_study(name, len(run_ids), 0 if ledger is None else len(ledger["cells"]))

    def _runs(self, reader: ExperimentReader, study: str, document: str, sources: set[str] | None) -> set[str]:
        """Write an experiment's runs; return their ids.

        Args:
            sources: only the runs that made one of these.
        """
        found = reader.runs()
        if sources is not None:
            found = [run for run in found if run.data.tags.get("tracker.source_id") in sources]
        task = f"export {reader.name}"
        with self._bundle.lines(study, document) as add:
            for number, run in enumerate(found):
                self._tell(Step(task, number, len(found), "runs"))
                add(reader.run(run))
            self._tell(Step(task, len(found), len(found), "runs"))
        return {run.info.run_id for run in found}

    def _states(self, ledger: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """Take the training states of cells that are not complete, as far as they lie on this machine."""
        states = {}
        for row in ledger["cells"]:
            folder = self._home.work / str(row["run_key"])
            if row["state"] == "COMPLETE" or row["run_key"] is None or not folder.is_dir():
                continue
            files = []
            for path in sorted(folder.iterdir()):
                if not (FILE_NAME.fullmatch(path.name) and path.is_file()):
                    continue
                try:
                    sha256, size = self._bundle.keep(path)
                except FileNotFoundError:  # a worker that runs has just replaced it by a newer one
                    continue
                files.append(MovedFile(path=path.name, sha256=sha256, size=size).model_dump())
            if files:
                states[row["run_key"]] = files
        return states
