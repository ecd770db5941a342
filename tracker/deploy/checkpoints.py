"""The checkpoint of a cell, from among its run's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tracker.deploy.choosing import Choice
from tracker.study.errors import DataDamaged, TrackerError
from tracker.tracking.files import fetch_stored, stored_files
from tracker.vision.checkpoint import CheckpointFacts, load_classifier
from tracker.vision.models import Classifier

FOLDER = "checkpoint"
RULES = ("best", "last")
"""What a sweep can keep, by the names of its files."""
OWN = {"best_acc": "best", "last_acc": "last", "selected_acc": "best"}
"""The file that is looked at first for a metric."""


@dataclass(frozen=True)
class Kept:
    """A cell's network, as its sweep kept it.

    Args:
        rule: `best` or `last`: which epoch's it is, on the test split.
        note: a sentence where it is not the network that the metric is of.
    """

    classifier: Classifier
    facts: CheckpointFacts
    rule: str
    note: str | None


def load_kept(uri: str, choice: Choice, study_name: str, scratch: Path) -> Kept:
    """Fetch and load a cell's checkpoint: of the epoch that the choice's metric is of, else the other one kept.

    Args:
        uri: where MLflow keeps the run.
        scratch: a folder with room for it.

    Raises:
        TrackerError: the sweep kept none.
        DataDamaged: it is damaged, or another cell's.
        TrackingError: MLflow does not answer.

    Writes: into `scratch`.
    """
    cell, run = choice.cell, choice.run
    there = stored_files(uri, run.artifact_uri, FOLDER)
    rules = [rule for rule in RULES if f"{rule}.safetensors" in there]
    again = f"tracker retry --study {study_name} --cell {cell.id} --anew"
    sweep = f"tracker sweep --study {study_name}"
    if not rules:
        raise TrackerError(
            f"cell {cell.id} ({cell.name}) has no checkpoint: it was swept with --keep none, or its files are gone",
            f"`{again}`, then `{sweep} --keep best`",
        )
    epochs = {"best": run.metrics.get("best_epoch"), "last": float(cell.recipe.epochs - 1)}
    wanted = {
        "best_acc": epochs["best"],
        "last_acc": epochs["last"],
        "selected_acc": run.metrics.get("selected_epoch"),
    }[choice.metric]
    own = OWN[choice.metric]
    rule = min(rules, key=lambda rule: (epochs[rule] != wanted, rule != own))
    path = scratch / f"{rule}.safetensors"
    fetch_stored(uri, run.artifact_uri, f"{FOLDER}/{path.name}", path)
    try:
        classifier, facts = load_classifier(path)
    except DataDamaged as error:
        message = error.message.replace(str(path), f"run {run.run_id}, {FOLDER}/{path.name}")
        raise DataDamaged(message, f"`{again}`, then `{sweep}`") from error
    if facts.identity != cell.id:
        raise DataDamaged(
            f"run {run.run_id}, {FOLDER}/{path.name}: is of cell {facts.identity}, not of {cell.id}",
            f"`{again}`, then `{sweep}`",
        )
    note = None
    if facts.epoch != wanted:
        note = (
            f"the sweep kept {' and '.join(rules)}, not the network that {choice.metric} is of: exported is the one of "
            f"epoch {facts.epoch}, test accuracy {100 * facts.test_acc:.2f} % ({rule} of the run)"
        )
    return Kept(classifier, facts, rule, note)
