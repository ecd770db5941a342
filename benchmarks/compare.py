"""How long a large study takes to compare: `python -m benchmarks.compare --help`.

Fills a fresh MLflow store with finished runs of a grid like the reference study's, with their
histories and predictions, and compares it as `tracker compare` does: with nothing kept, and again
with the predictions kept from before; from the store's file, and through a server. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from tracker.compare.outputs import leaderboard_of
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.study import Cell, Study
from tracker.tracking.server.addresses import database_uri
from tracker.tracking.server.lifecycle import start, stop
from tracker.tracking.view import cell_tags
from tracker.tracking.writing import StudyTracking

SEED = 20_261_121
EPOCH_METRICS = ("train_loss", "train_acc", "test_loss", "test_acc", "lr", "epoch_seconds", "images_per_second")
TEST_IMAGES = {"cifar10": 10_000, "cifar100": 10_000, "svhn": 26_032, "tiny-imagenet-200": 10_000}
BATCH = 1_000
"""MLflow takes so many metrics a call."""


def grid(runs: int) -> Study:
    """Make a study of at least so many cells: the reference grid, with seeds."""
    return parse_study(
        {
            "name": "large",
            "question": "How long does it take?",
            "axes": {
                "model": ["resnet18", "resnet50", "densenet121", "densenet161"],
                "dataset": list(TEST_IMAGES),
                "normalization": ["finetune", "pretrain", "instance", "minmax"],
                "seed": list(range(1, 1 + -(-runs // 64))),
            },
        },
        file="the benchmark's study",
    )


def fill(home: Home, study: Study, epochs: int) -> None:
    """Write every cell's run into a fresh store, by MLflow's own client."""
    try:
        tracking = StudyTracking(serve(home), home, study)  # a server makes the experiment, as for a sweep
        place = tracking.open()
        tracking.finish("FINISHED")
    finally:
        stop(home)
    client = MlflowClient(database_uri(home))
    rng = np.random.default_rng(SEED)
    difficulty = {name: rng.random(images) for name, images in TEST_IMAGES.items()}
    for cell in study.cells:
        _write(client, home, place.experiment_id, study, cell, epochs, difficulty[cell.recipe.dataset], rng)


def _write(
    client: MlflowClient,
    home: Home,
    experiment_id: str,
    study: Study,
    cell: Cell,
    epochs: int,
    difficulty: np.ndarray,
    rng: np.random.Generator,
) -> None:
    images = len(difficulty)
    labels = np.arange(images, dtype=np.int32) % 10
    luck = rng.random((2, images))
    right = 0.8 * difficulty + 0.2 * luck > 0.15 + rng.normal(0, 0.003)
    predicted = np.where(right, labels, (labels + 1 + rng.integers(0, 9, images)) % 10).astype(np.int32)
    run = client.create_run(experiment_id, run_name=cell.name, tags=cell_tags(cell, study, None))
    best, last = map(float, right.mean(axis=1))
    metrics = [
        Metric(name, best - 0.001 * abs(epoch - epochs // 2), 1_700_000_000_000 + epoch, epoch)
        for epoch in range(epochs)
        for name in EPOCH_METRICS
    ]
    metrics += [Metric("best_acc", best, 1_700_000_000_000, 0), Metric("last_acc", last, 1_700_000_000_000, 0)]
    params = [Param(key, str(value)) for key, value in cell.recipe.model_dump(mode="json").items()]
    tags = [RunTag("tracker.test_images", str(images)), RunTag("dataset.fingerprint", cell.recipe.dataset)]
    for first in range(0, len(metrics), BATCH):
        client.log_batch(run.info.run_id, metrics[first : first + BATCH])
    client.log_batch(run.info.run_id, params=params, tags=tags)
    folder = home.artifacts / experiment_id / run.info.run_id / "artifacts" / "predictions"
    folder.mkdir(parents=True)
    index = np.arange(images, dtype=np.int32)
    np.savez_compressed(folder / "predictions.npz", index=index, labels=labels, best=predicted[0], last=predicted[1])
    client.set_terminated(run.info.run_id)


def serve(home: Home) -> str:
    """Start the home's server and return its address."""
    uri = start(home).uri
    if uri is None:
        raise RuntimeError("the server did not start")
    return uri


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(home: Home, uri: str, times: int) -> tuple[list[float], list[float]]:
    """Compare several times with nothing kept and with the predictions kept, in turn."""
    first, again = [], []
    for _ in range(times):
        for path in home.cache.glob("*"):
            path.unlink()
        for seconds in (first, again):
            seconds.append(timed(lambda: leaderboard_of(uri, home, "large")))
    return first, again


def shown(name: str, seconds: Sequence[float]) -> str:
    """Return a line of the table."""
    return f"| {name} | {statistics.median(seconds):.2f} | {min(seconds):.2f} | {max(seconds):.2f} |"


def arguments(description: str | None) -> argparse.Namespace:
    """Read the command line of a benchmark of a filled store."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2_000, help="at least so many (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=100, help="of each run's history (default: %(default)s)")
    parser.add_argument("--times", type=int, default=3, help="measurements of each kind (default: %(default)s)")
    parser.add_argument("--home", type=Path, help="fill and keep this folder; used as it is if it is there")
    return parser.parse_args()


def main() -> None:
    """Fill a store, compare it, and print the table."""
    options = arguments(__doc__)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        home = Home((options.home or Path(scratch, "mlruns")).absolute())
        study = grid(options.runs)
        if not home.tracking_db.exists():
            print(f"filling a store with {len(study.cells)} runs of {options.epochs} epochs", file=sys.stderr)
            print(f"{timed(lambda: fill(home, study, options.epochs)):.0f} s", file=sys.stderr)
        lines = []
        for name, seconds in zip(
            ("nothing kept", "predictions kept"), measure(home, database_uri(home), options.times), strict=True
        ):
            lines.append(shown(f"from the file, {name}", seconds))
        try:
            uri = serve(home)
            for name, seconds in zip(
                ("nothing kept", "predictions kept"), measure(home, uri, options.times), strict=True
            ):
                lines.append(shown(f"through the server, {name}", seconds))
        finally:
            stop(home)
    versions = ", ".join(f"{package} {version(package)}" for package in ("mlflow", "numpy", "scipy"))
    print(
        f"{len(study.cells)} runs of {options.epochs} epochs; Python {platform.python_version()}, {versions}, ", end=""
    )
    print(f"SQLite {sqlite3.sqlite_version}\n\n| compared | median, s | least | most |\n|---|--:|--:|--:|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
