"""Make the stores that the upgrade tests open: `python tests/upgrade/make_stores.py --help`.

    git archive --prefix=1c63d62/ 1c63d62 | tar x -C /tmp    # the last one to write the ledger's schema 0001
    .venv/bin/python tests/upgrade/make_stores.py sweep /tmp/1c63d62 first
    .venv/bin/python tests/upgrade/make_stores.py sweep . today
    python3 -m venv OLD; OLD/bin/pip install 'mlflow==3.4.0' 'sqlalchemy<2.1'
    OLD/bin/python tests/upgrade/make_stores.py replay today mlflow-3.4.0

`sweep` runs a study of four cells with the program in FOLDER, stops it in the fourth, and keeps both
databases as text. `replay` makes the same runs by plain calls of another MLflow, under the same
ids. Each dump begins with the versions that wrote it. Standard library and mlflow alone: an old
MLflow runs it too.
"""

from __future__ import annotations

import argparse
import lzma
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

STORES = Path(__file__).parent / "stores"
STUDY = """
question: Does an old store open?
datasets:
  high: {kind: digits, classes: [7, 8, 9], image_size: 16}
recipe:
  model: mobilenet_v3_small
  dataset: high
  source: random
  epochs: 2
  batch_size: 32
  flip: false
  limit_train: 64
  limit_test: 60
axes:
  normalization: [finetune, minmax]
  seed: [1, 2]
baseline: minmax
"""
PRIVATE = ("host", "platform", "mlflow.user", "worker")
"""Tags that say where a store was made."""
SECONDS = 900


def sweep(checkout: Path, name: str, home: Path | None) -> None:
    """Sweep the study with the program in `checkout` until its last cell has begun, and keep the databases.

    Args:
        home: one in which that was done already; None makes one.
    """
    with tempfile.TemporaryDirectory() as scratch:
        if home is None:
            home = Path(scratch, "mlruns")
            study = Path(scratch, "tiny.yaml")
            study.write_text(STUDY, encoding="utf-8")
            command = [sys.executable, "-m", "tracker", "sweep", "--study", str(study), "--workers", "1", "--home"]
            running = subprocess.Popen(
                [*command, str(home)], cwd=checkout, env=os.environ | {"OMP_NUM_THREADS": "1"}, start_new_session=True
            )
            deadline = time.monotonic() + SECONDS
            while _begun(home / "trials.db") < 4 and running.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            running.send_signal(signal.SIGINT)
            running.wait(SECONDS)
        wrote = f"{checkout.name or 'this program'}: {_versions('torch', 'mlflow', 'optuna', 'sqlalchemy')}"
        for database in ("tracking", "trials"):
            keep(home / f"{database}.db", f"{name}.{database}", wrote, {})


def _begun(trials: Path) -> int:
    """Return how many cells were begun."""
    try:
        with closing(sqlite3.connect(f"file:{trials}?mode=ro", uri=True, timeout=30)) as database:
            return int(database.execute("SELECT count(*) FROM cells WHERE attempts > 0").fetchone()[0])
    except sqlite3.Error:  # not there yet
        return 0


def replay(source: str, name: str) -> None:
    """Make the runs of a kept store again by the MLflow that is installed."""
    from mlflow import MlflowClient
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

    with tempfile.TemporaryDirectory() as scratch:
        old, new = Path(scratch, "old.db"), Path(scratch, "new.db")
        restore(f"{source}.tracking", old)
        client = MlflowClient(f"sqlite:///{new}")
        ids: dict[str, str] = {}
        with closing(sqlite3.connect(old)) as database:
            database.row_factory = sqlite3.Row
            for experiment in database.execute("SELECT * FROM experiments WHERE name != 'Default'").fetchall():
                of_it = (experiment["experiment_id"],)
                made = client.create_experiment(experiment["name"], experiment["artifact_location"])
                for tag in database.execute("SELECT * FROM experiment_tags WHERE experiment_id = ?", of_it):
                    client.set_experiment_tag(made, tag["key"], tag["value"][:5_000])  # all that MLflow 3.4 takes
                for run in database.execute("SELECT * FROM runs WHERE experiment_id = ?", of_it).fetchall():
                    key = (run["run_uuid"],)
                    run_id = client.create_run(made, run["start_time"], {}, run["name"]).info.run_id
                    ids[run_id] = run["run_uuid"]
                    metrics = database.execute("SELECT * FROM metrics WHERE run_uuid = ?", key)
                    params = database.execute("SELECT * FROM params WHERE run_uuid = ?", key)
                    tags = database.execute("SELECT * FROM tags WHERE run_uuid = ?", key)
                    client.log_batch(
                        run_id,
                        metrics=[Metric(row["key"], row["value"], row["timestamp"], row["step"]) for row in metrics],
                        params=[Param(row["key"], row["value"]) for row in params],
                    )
                    client.log_batch(run_id, tags=[RunTag(row["key"], row["value"]) for row in tags])
                    inputs = database.execute(
                        "SELECT d.* FROM inputs i JOIN datasets d ON d.dataset_uuid = i.source_id"
                        " WHERE i.destination_id = ?",
                        key,
                    )
                    for row in inputs.fetchall():
                        dataset = Dataset(
                            row["name"], row["digest"], row["dataset_source_type"], row["dataset_source"], None,
                            row["dataset_profile"],
                        )  # fmt: skip
                        client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "train")])])
                    client.set_terminated(run_id, run["status"], run["end_time"])
        keep(new, f"{name}.tracking", f"plain calls: {_versions('mlflow', 'sqlalchemy')}", ids)


def keep(database: Path, name: str, wrote: str, ids: dict[str, str]) -> None:
    """Write a database as text, the versions that wrote it first, without saying where it was made.

    Args:
        ids: what to put in place of what.

    Writes: `stores/NAME.sql.xz`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, "copy.db")
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as opened:
            source.backup(opened)
            tables = {row[0] for row in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for key in PRIVATE if "tags" in tables else ():
                opened.execute("UPDATE tags SET value = 'somewhere' WHERE key = ?", (key,))
            if "cells" in tables:
                opened.execute("UPDATE cells SET worker = 'somewhere-1' WHERE worker IS NOT NULL")
            opened.commit()
            text = "\n".join([f"-- written by {wrote}", *opened.iterdump(), ""])
    for made, wanted in ids.items():
        text = text.replace(made, wanted)
    if private := re.search(r"/(?:home|root|tmp|Users)/[^']*", text):
        raise SystemExit(f"{name}: names a place of this machine: {private[0]}")
    STORES.mkdir(exist_ok=True)
    with lzma.open(STORES / f"{name}.sql.xz", "wt", preset=9 | lzma.PRESET_EXTREME, encoding="utf-8") as file:
        file.write(text)


def restore(name: str, database: Path) -> str:
    """Make a SQLite file of a kept database, and return who wrote it."""
    with lzma.open(STORES / f"{name}.sql.xz", "rt", encoding="utf-8") as file:
        text = file.read()
    with closing(sqlite3.connect(database)) as opened:
        opened.executescript(text)
    return text.partition("\n")[0].removeprefix("-- written by ")


def _versions(*packages: str) -> str:
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = parser.add_subparsers(dest="way", required=True)
    way = ways.add_parser("sweep", help="by a program of this repository")
    way.add_argument("checkout", type=Path)
    way.add_argument("name")
    way.add_argument("--home", type=Path, help="take what was swept there already")
    way = ways.add_parser("replay", help="by the MLflow that is installed")
    way.add_argument("source")
    way.add_argument("name")
    options = parser.parse_args()
    if options.way == "sweep":
        sweep(options.checkout, options.name, options.home)
    else:
        replay(options.source, options.name)


if __name__ == "__main__":
    main()
