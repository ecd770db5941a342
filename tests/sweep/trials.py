"""A served home, and studies of cells that train in a second, for tests that break them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from mlflow import MlflowClient

from tests.prepared_store import with_store
from tracker.ledger.ledger import Ledger, local_url
from tracker.ledger.rows import CellRow
from tracker.study.failures import RetryPolicy
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.study import Study
from tracker.sweep.reconcile import reconcile
from tracker.sweep.workers.config import CellSettings, CrewConfig, WorkerConfig
from tracker.tracking.ending import runs_by_key
from tracker.tracking.records import RunRecord
from tracker.tracking.server import lifecycle
from tracker.tracking.writing import StudyPlace, StudyTracking

TIMES = ("epoch_seconds", "images_per_second")
SETTINGS = CellSettings(policy=RetryPolicy(max_attempts=9, wait_seconds=0.0), min_free_bytes=1)


def small_study(name: str, epochs: int = 3, seeds: tuple[int, ...] = (1,), **recipe: object) -> Study:
    """Make a study of one cell a seed: mobilenet_v3_small, which has BatchNorm and dropout, on 48 digits of 16 x 16."""
    return parse_study(
        {
            "name": name,
            "question": "Does it survive?",
            "datasets": {"low": {"kind": "digits", "classes": [0, 1, 2], "image_size": 16}},
            "recipe": {
                "model": "mobilenet_v3_small", "dataset": "low", "source": "random", "normalization": "minmax",
                "epochs": epochs, "batch_size": 16, "limit_train": 48, "limit_test": 30, "flip": False, **recipe,
            },
            "baseline": "minmax",
            "axes": {"seed": list(seeds)},
        },
        file="study of a test",
    )  # fmt: skip


def crew_config(study: Study, home: Home, uri: str = "http://127.0.0.1:1") -> CrewConfig:
    """Return what workers of one home have in common; without a server at `uri` nothing reaches MLflow."""
    return CrewConfig(
        document=study.document(),
        home=home.root,
        tracking_uri=uri,
        place=None,
        ledger_url=local_url(home),
        settings=SETTINGS,
    )


def _differs(metric: str) -> bool:
    """Say whether a metric is of the machine, not of the training, so that no two attempts agree in it."""
    return metric in TIMES or metric.startswith("system/")


@dataclass(frozen=True)
class Bench:
    """A home, and the MLflow server that its cells are logged to.

    Args:
        artifacts: where that server keeps files.
    """

    home: Home
    uri: str
    artifacts: Path

    def enroll(self, study: Study) -> None:
        """Put a study where a worker finds it."""
        with Ledger.local(self.home) as ledger:
            ledger.enroll(study)

    def recover(self, study: Study, dead: str) -> list[str]:
        """Do what a sweep does about a worker that is known to be dead; return what it said."""
        with Ledger.local(self.home, policy=SETTINGS.policy) as ledger:
            ledger.leases.reclaim_worker(study.name, dead)
            return reconcile(study.name, ledger, self.home, self.uri)

    def place(self, study: Study) -> StudyPlace:
        """Make the study's experiment and run, and end the run as a sweep does."""
        tracking = StudyTracking(self.uri, self.home, study)
        place = tracking.open()
        tracking.finish("FINISHED")
        return place

    def config(self, study: Study, name: str = "worker", **changes: object) -> WorkerConfig:
        """Return what a worker of the study needs, changed in fields of its own or of its crew's."""
        common = {field.name for field in fields(CrewConfig)}
        crew = crew_config(study, self.home, self.uri)
        crew = replace(crew, **{key: value for key, value in changes.items() if key in common})  # type: ignore[arg-type]
        config = WorkerConfig(name=name, crew=crew, device="cpu", device_place="here/cpu", threads=1)
        return replace(config, **{key: value for key, value in changes.items() if key not in common})  # type: ignore[arg-type]

    def rows(self, study: Study) -> list[CellRow]:
        """Return the study's rows."""
        with Ledger.local(self.home) as ledger:
            return ledger.rows(study.name)

    def row(self, study: Study) -> CellRow:
        """Return the only row of a study."""
        (row,) = self.rows(study)
        return row

    def run(self, study: Study) -> RunRecord:
        """Return the only cell run of a study."""
        runs = runs_by_key(self.uri, study.name)
        (run,) = [run for run in runs.values() if run.cell_id]
        return run

    def points(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """Return every point of a metric in MLflow, by step, none left out."""
        history = MlflowClient(self.uri).get_metric_history(run_id, metric)
        return sorted((point.step, point.value) for point in history)

    def result(self, study: Study) -> Mapping[str, object]:
        """Return all that a cell's run says of its result, times left out."""
        run = self.run(study)
        folder = next(self.artifacts.glob(f"*/{run.run_id}/artifacts"))
        with np.load(folder / "predictions" / "predictions.npz", allow_pickle=False) as stored:
            predictions = {name: stored[name].tolist() for name in stored.files}
        return {
            "status": run.status,
            "points": {name: self.points(run.run_id, name) for name in sorted(run.metrics) if not _differs(name)},
            "predictions": predictions,
            "files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()),
            "checkpoint": (folder / "checkpoint" / "best.safetensors").read_bytes(),
        }

    def scratch(self) -> list[Path]:
        """Return what lies in the folders that are empty when nothing is under way."""
        return [path for place in (self.home.work, self.home.journal) for path in place.glob("*")]


@contextmanager
def served(home: Home) -> Iterator[Bench]:
    """Start a home's MLflow server, and stop it, or the one that has taken its place, afterwards."""
    uri = lifecycle.start(with_store(home)).uri
    assert uri is not None
    try:
        yield Bench(home, uri, home.artifacts)
    finally:
        lifecycle.stop(home)


def bench_beside(served_home: Home, home: Home) -> Bench:
    """Return a bench whose home has no server of its own, as on a machine that logs to another's."""
    uri = lifecycle.status(served_home).uri
    assert uri is not None
    home.make(home.root)
    return Bench(home, uri, served_home.artifacts)
