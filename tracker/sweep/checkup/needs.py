"""What a study needs: its datasets and sources, and stores that agree about it."""

from __future__ import annotations

from collections.abc import Iterator

from tracker.ledger.opening import existing_ledger
from tracker.study.errors import SourceError, TrackingError
from tracker.study.home import Home
from tracker.study.study import Study
from tracker.sweep.checkup.finding import Finding
from tracker.sweep.reconcile import reconcile
from tracker.sweep.sources import jobs_of, source_job
from tracker.tracking.server.addresses import reading_uri
from tracker.vision.datasets import datasets_of, describe
from tracker.vision.sources import find_source, weights_file


def check_datasets(study: Study, home: Home) -> Iterator[Finding]:
    """Say which image sets of a study are here."""
    for name, spec in datasets_of(study.cells).items():
        state = describe(name, spec, home)
        if state.state == "ready":
            yield Finding("datasets", "ok", f"{name}: ready, {state.train:,} + {state.test:,} images")
        elif state.state == "raw":
            yield Finding("datasets", "ok", f"{name}: here as files, packed at first use")
        else:
            yield Finding("datasets", "problem", state.problem or f"{name}: {state.state}", state.cure)


def check_sources(study: Study, home: Home) -> Iterator[Finding]:
    """Say which starting weights of a study are here."""
    for job in jobs_of(study.cells):
        what = f"{job.name} for {job.recipe.model}"
        made = "ready" if job.path(home).is_file() else "not there yet; a sweep pre-trains it first"
        yield Finding("sources", "ok", f"{what}: {made}")
    others = [cell.recipe for cell in study.cells if source_job(cell) is None and cell.recipe.source != "random"]
    for model, source, weights in dict.fromkeys((recipe.model, recipe.source, recipe.weights) for recipe in others):
        try:
            if source == "torchvision":
                file = weights_file(model, weights, home=home)
                if not file.path.is_file():
                    raise file.missing
                path = file.path
            else:
                path = find_source(home, source, model)
            yield Finding("sources", "ok", f"{source} for {model}: {path}")
        except SourceError as error:
            yield Finding("sources", "problem", error.message, error.cure)


def check_agreement(study: Study, home: Home, storage: str | None) -> Iterator[Finding]:
    """List where table, Optuna, MLflow and disk disagree about a study; nothing is changed."""
    ledger = existing_ledger(home, storage)
    if ledger is None:
        return
    cure = f"tracker status --study {study.name}, and every sweep, mends it"
    with ledger:
        if not ledger.counts(study.name).cells:
            return
        try:
            uri = reading_uri(home)
        except TrackingError as error:
            yield Finding("agreement", "warning", f"MLflow cannot be asked: {error.message}", error.cure)
            uri = None
        found = reconcile(study.name, ledger, home, uri, dry_run=True)
    yield from (Finding("agreement", "warning", sentence, cure) for sentence in found)
    if not found:
        yield Finding("agreement", "ok", "table, Optuna, MLflow and disk agree")
