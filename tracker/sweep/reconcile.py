"""Bring table, Optuna, MLflow and disk together after whatever happened: the table decides.

A kill can fall between any two writes. What then disagrees is found from scratch each time, by
comparing what each of the four says, never from a note that the dead process should have left.
"""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from tracker.ledger.ledger import Ledger
from tracker.ledger.rows import CellRow
from tracker.study.home import SCRATCH_NAME, Home
from tracker.tracking.ending import end_run, open_runs, runs_by_key
from tracker.tracking.journal import held_journals, left_journals
from tracker.tracking.records import RunRecord
from tracker.tracking.replay import replay
from tracker.tracking.writing import study_key

LEFTOVER_SECONDS = 24 * 3600.0
"""Scratch folders of another machine are removed when they are older than anything that needs them."""


def reconcile(study: str, ledger: Ledger, home: Home, uri: str | None, dry_run: bool = False) -> list[str]:
    """Mend every disagreement about a study; return a sentence for each that was found.

    Args:
        uri: of MLflow, a server unless `dry_run`; None where it cannot be asked.
        dry_run: only look.

    Raises:
        LedgerError, TrackingError: a store does not answer.
    """
    said = [f"{row.name}: its worker {row.worker} is gone; it waits again" for row in _lost(study, ledger, dry_run)]
    said += ledger.mend(study, dry_run=dry_run)
    if uri is not None:
        said += _journals(home, uri, dry_run)
        rows = ledger.rows(study, in_grid=False)
        runs = runs_by_key(uri, study)
        said += _open_runs(study, rows, home, uri, dry_run)
        said += _runs_of_complete_cells(study, rows, runs, ledger, home, dry_run)
    said += _disk(ledger.rows(study, in_grid=False), home, dry_run)
    return said


def _lost(study: str, ledger: Ledger, dry_run: bool) -> list[CellRow]:
    if dry_run:
        return [row for row in ledger.rows(study, in_grid=False) if row.expired]
    return ledger.leases.reclaim_expired(study)


def _journals(home: Home, uri: str, dry_run: bool) -> Iterator[str]:
    """Results that a process left behind, of any study."""
    if dry_run:
        for name in left_journals(home):
            yield f"{name}: results in {home.journal} have not reached MLflow"
        return
    replayed = replay(home, uri)
    for name in replayed.delivered:
        yield f"{name}: the results that an earlier process left are delivered to MLflow"
    yield from replayed.problems


def _open_runs(study: str, rows: Sequence[CellRow], home: Home, uri: str, dry_run: bool) -> Iterator[str]:
    """Runs that MLflow shows as RUNNING though nobody works on them."""
    alive = {row.run_key for row in rows if row.state == "RUNNING" and not row.expired}
    alive |= held_journals(home)
    if alive and any(row.state == "RUNNING" for row in rows):
        alive.add(study_key(study))  # a sweep of another machine may be at it
    for run in open_runs(uri, study):
        if run.key not in alive:
            if not dry_run:
                end_run(uri, run.run_id, "KILLED", "its worker is gone; found when no living worker had the cell")
            yield f"{run.name}: MLflow's run {run.run_id} was RUNNING without a worker; now KILLED"


def _runs_of_complete_cells(
    study: str, rows: Sequence[CellRow], runs: dict[str, RunRecord], ledger: Ledger, home: Home, dry_run: bool
) -> Iterator[str]:
    """Complete cells whose result MLflow does not have, or has under an id the ledger does not know."""
    by_id = {run.run_id: run for run in runs.values()}
    on_the_way = {*held_journals(home), *left_journals(home).values()}
    for row in rows:
        if row.state != "COMPLETE" or row.run_key in on_the_way:
            continue
        run = runs.get(row.run_key or "") or by_id.get(row.run_id or "")
        if run is None:
            yield (
                f"{row.name}: complete in the ledger, but MLflow has no run of it; any sweep on the machine of "
                f"worker {row.worker} delivers what its journal has, else "
                f"`tracker retry --study {study} --cell {row.cell_id} --anew` runs it again"
            )
        elif run.status != "FINISHED":
            yield (
                f"{row.name}: complete in the ledger, but MLflow's run {run.run_id} is {run.status}: "
                f"the rest lies in the journal of worker {row.worker}; any sweep on that machine delivers it"
            )
        elif row.run_id != run.run_id and row.run_key is not None:
            if not dry_run:
                ledger.note_run(study, row.cell_id, row.run_key, run.run_id)
            yield f"{row.name}: the ledger did not know its MLflow run; now {run.run_id}"


def _disk(rows: Sequence[CellRow], home: Home, dry_run: bool) -> Iterator[str]:
    """Training states that nobody needs any more, and scratch folders of processes that were killed."""
    finished = {row.run_key: row.name for row in rows if row.state == "COMPLETE" and row.run_key is not None}
    for folder in sorted(home.work.iterdir()) if home.work.is_dir() else ():
        if folder.name in finished:
            why = f"{finished[folder.name]}: its training state was still on the disk; removed"
        elif _is_left_behind(folder):
            why = f"{folder}: left by a process that was killed; removed"
        else:
            continue
        if not dry_run:
            shutil.rmtree(folder, ignore_errors=True)
        yield why


def _is_left_behind(folder: Path) -> bool:
    """Say whether a scratch folder's process is gone."""
    name = SCRATCH_NAME.fullmatch(folder.name)
    if name is None:
        return False
    if name["host"] == socket.gethostname() and not psutil.pid_exists(int(name["pid"])):
        return True
    try:
        return time.time() - folder.stat().st_mtime > LEFTOVER_SECONDS
    except FileNotFoundError:  # its owner has just removed it
        return False
