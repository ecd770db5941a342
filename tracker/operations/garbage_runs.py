"""Garbage in MLflow: what was deleted there, files of no run, checkpoints that are not a configuration's best."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from tracker.ledger.rows import OBJECTIVE, CellRow
from tracker.operations.garbage import RECENT_SECONDS, Group, Item, measure, path_item, remove_path
from tracker.study.home import Home
from tracker.study.study import REPLICATE_AXIS
from tracker.tracking.journal import held_journals, left_journals
from tracker.tracking.trash import Known, Trashed, delete_for_good, is_still_deleted, trashed

RUN_FOLDER = re.compile(r"[0-9a-f]{32}")
MODEL_FOLDER = re.compile(r"m-[0-9a-f]{32}")


def deleted(home: Home, uri: str, rows: Iterable[CellRow], older_than: float) -> tuple[Group, list[str]]:
    """Return what was deleted in MLflow long enough ago, and a line for each thing that stays.

    A run that a worker has, or that results are on the way to, stays: MLflow's trash gives it back.
    """
    group = Group("deleted in MLflow", "deleted there by somebody longer ago than --older-than")
    stays: list[str] = []
    needed = {row.run_key for row in rows if row.state == "RUNNING"} | {
        row.run_id for row in rows if row.state == "RUNNING"
    }
    needed |= held_journals(home) | set(left_journals(home).values())
    kept: set[str] = set()
    for found in trashed(home, uri, older_than):
        if found.kind == "experiment":
            if found.id not in kept:
                group.items.append(_trashed_item(uri, found))
        elif found.id in needed or (found.key and found.key in needed):
            kept.add(found.experiment_id)
        elif found.folder is None:
            kept.add(found.experiment_id)
            stays.append(f"{found.kind} {found.id}: its files are not on this machine; `mlflow gc` removes both")
        else:
            group.items.append(_trashed_item(uri, found))
    return group, stays


def _trashed_item(uri: str, found: Trashed) -> Item:
    # A run's folder holds nothing but its artifacts; an experiment's may hold what is not ours.
    folder = None if found.folder is None or found.kind == "experiment" else _own_folder(found)

    def remove() -> bool:
        if not is_still_deleted(uri, found):
            return False
        if folder is not None and folder.exists():
            remove_path(folder)
        delete_for_good(uri, found)
        return True

    return Item(f"{found.kind} {found.name} ({found.id})", measure(folder).bytes if folder else 0, remove)


def _own_folder(found: Trashed) -> Path | None:
    """Return the folder that is the run's or model's alone, None where its place is of another shape."""
    assert found.folder is not None
    return found.folder.parent if found.folder.parent.name == found.id else None


def orphans(home: Home, known: Known, older_than: float) -> Group:
    """Return folders of runs and models that MLflow's database does not know.

    Nothing where it knows no run at all: then it is the database that was lost.
    """
    group = Group("files of no run", "MLflow's database knows no such run or model")
    if not known.folders:
        return group
    for experiment in sorted(home.artifacts.iterdir()) if home.artifacts.is_dir() else ():
        if not experiment.is_dir() or experiment.is_symlink():
            continue
        runs = [path for path in experiment.iterdir() if RUN_FOLDER.fullmatch(path.name)]
        models = [path for path in (experiment / "models").glob("*") if MODEL_FOLDER.fullmatch(path.name)]
        lost = [path for path in runs if path.name not in known.folders]
        lost += [path for path in models if path.name not in known.models]
        for path in sorted(lost):
            if (size := measure(path)).older_than(older_than):
                group.items.append(path_item(path, home.root, size))
    return group


def checkpoints(home: Home, known: Known, rows: Iterable[CellRow]) -> Group:
    """Return the checkpoints of complete cells, but for the best of each configuration, by its best_acc."""
    group = Group("checkpoints", "another seed of the configuration is as good or better, and keeps its own")
    configurations: dict[tuple[object, ...], list[CellRow]] = defaultdict(list)
    for row in rows:
        if row.state == "COMPLETE" and row.in_grid and row.run_id and row.metrics and OBJECTIVE in row.metrics:
            point = sorted((key, repr(value)) for key, value in row.point.items() if key != REPLICATE_AXIS)
            configurations[row.study, *point].append(row)
    for cells in configurations.values():
        ranked = sorted(cells, key=lambda row: (-(row.metrics or {})[OBJECTIVE], row.position))
        # The best that has one: its own may be gone.
        having = [row for row in ranked if any(_checkpoints(known, row))]
        for row in having[1:]:
            for path in _checkpoints(known, row):
                if (size := measure(path)).older_than(RECENT_SECONDS):
                    group.items.append(path_item(path, home.root, size))
    return group


def _checkpoints(known: Known, row: CellRow) -> Iterator[Path]:
    folder = known.folders.get(str(row.run_id))
    return (folder / "checkpoint").glob("*.safetensors") if folder is not None else iter(())
