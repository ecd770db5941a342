"""What a sweep writes to: the trial database, MLflow, and where weights lie."""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import torch

from tracker.ledger.ledger import StudyCounts
from tracker.ledger.opening import existing_ledger
from tracker.study.errors import TrackerError
from tracker.study.home import Home
from tracker.study.printing import shown
from tracker.sweep.checkup.finding import Finding
from tracker.tracking.client import check_reachable
from tracker.tracking.server.addresses import URI_VARIABLE
from tracker.tracking.server.lifecycle import status as server_status

REACH_SECONDS = 5


def check_trials(home: Home, storage: str | None) -> Iterator[Finding]:
    """Open the trial database; look for cells whose worker is gone, and for devices that were set aside."""
    ledger = existing_ledger(home, storage)
    if ledger is None:
        yield Finding("trials", "ok", f"{home.trials_db}: not there yet; the first sweep makes it")
        return
    with ledger:
        studies, mode = ledger.studies(), ledger.journal_mode
        cells = sum(study.cells for study in studies)
        kind = f"{mode} mode, " if mode else ""
        text = f"{ledger}: schema {ledger.schema}, {kind}{len(studies)} studies, {cells} cells"
        aside = ledger.devices.aside()
    if mode in (None, "wal"):
        yield Finding("trials", "ok", text)
    else:
        cure = "several workers need a local disk (no network file system) for SQLite: --home DIR"
        yield Finding("trials", "warning", text, cure)
    yield from map(_lost, (study for study in studies if study.lost))
    for device in aside:
        cure = f"once it is mended: tracker retry --study NAME --device {device.place}"
        yield Finding("device", "warning", f"{device.place} is set aside: {device.reason}", cure)


def _lost(study: StudyCounts) -> Finding:
    message = f"study {study.study}: {study.lost} of {study.cells} cells are RUNNING without a living worker"
    return Finding("trials", "warning", message, f"tracker sweep --study {study.study}")


def check_tracking(home: Home) -> Iterator[Finding]:
    """Look at the MLflow server a sweep would use."""
    if given := os.environ.get(URI_VARIABLE):
        yield _reach(given, f"{URI_VARIABLE}={shown(given)}")
        return
    local = server_status(home)
    if local.running and local.uri is not None:
        yield _reach(local.uri, f"the local server at {local.uri} (pid {local.pid})")
    elif local.database.exists():
        size = local.database.stat().st_size / 2**20
        yield Finding("tracking", "ok", f"{local.database} ({size:.1f} MiB); no server runs, a sweep starts its own")
    else:
        yield Finding("tracking", "ok", "no server runs; a sweep starts its own")


def _reach(uri: str, name: str) -> Finding:
    try:
        check_reachable(uri, REACH_SECONDS)
    except TrackerError as error:
        return Finding("tracking", "problem", f"{name}: {error.message}", error.cure)
    there, here = server_version(uri), metadata.version("mlflow")
    if there is None or there == here:
        return Finding("tracking", "ok", f"{name} answers" + (f", MLflow {there}" if there else ""))
    cure = f"use the same version on both sides: pip install mlflow=={there}"
    return Finding("tracking", "warning", f"{name} answers, but is MLflow {there}, and here is {here}", cure)


def server_version(uri: str) -> str | None:
    """Return what an MLflow server says its version is; None for a file, or a server that does not say."""
    if not uri.startswith(("http://", "https://")):
        return None
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/version", timeout=REACH_SECONDS) as answer:  # noqa: S310 (http only)
            text = answer.read(100).decode("ascii", "replace").strip()
    except OSError:
        return None
    return text if re.fullmatch(r"\d+\.\d+[\w.]*", text) else None


def check_weights(home: Home) -> Iterator[Finding]:
    """Say where torchvision's weights are looked for, and how many there are."""
    for folder in (Path(torch.hub.get_dir()) / "checkpoints", home.weights):
        files = sorted(folder.glob("*.pth"))
        size = sum(file.stat().st_size for file in files) / 2**20
        if files or folder != home.weights:
            yield Finding("weights", "ok", f"{folder}: {len(files)} files, {size:.0f} MiB")
