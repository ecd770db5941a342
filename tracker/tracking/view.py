"""What someone sees who opens the MLflow UI: descriptions, addresses, and a prepared table of the cells."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tracker.study.metrics import METRICS, RANKING_METRICS
from tracker.study.recipe import non_default, normalization_meaning
from tracker.study.shifts import AS_IS
from tracker.study.study import Cell, Study

SHARE_KEY = "cells"
VIEW_TAG = f"mlflow.sharedViewState.{SHARE_KEY}"
TRAINED = {
    "full": "every parameter is trained",
    "head": "only the head is trained",
    "head+bn": "only the head and BatchNorm are trained",
}
MAX_LISTED = 30
"""Values of an axis named in a description; MLflow takes 20,000 characters in all."""


def experiment_url(uri: str, experiment_id: str, prepared: bool = True) -> str:
    """Return the address of an experiment's table of runs.

    Without `workflowType` MLflow's first visit opens in its mode for language models, which hides the runs.

    Args:
        prepared: with the columns that `shared_view` chose; for experiments made by `StudyTracking`.
    """
    share = f"&viewStateShareKey={SHARE_KEY}" if prepared else ""
    return f"{uri.rstrip('/')}/#/experiments/{experiment_id}/runs?workflowType=machine_learning{share}"


def run_url(uri: str, experiment_id: str, run_id: str) -> str:
    """Return the address of a run's page."""
    return f"{uri.rstrip('/')}/{_run_fragment(experiment_id, run_id)}"


def shared_view(study: Study) -> str:
    """Return the view that MLflow's table opens with: the axes and the accuracies as columns, cells only.

    Undocumented: the tag `mlflow.sharedViewState.KEY` holds the page's state as JSON, and the
    address names KEY. An MLflow that does not know it shows its usual table.
    """
    shown = [name for name in RANKING_METRICS if name != "selected_acc" or _holds_out(study)]
    columns = [*(f"params.`{axis}`" for axis in study.axes), *(f"metrics.`{name}`" for name in shown)]
    state = {
        "searchFilter": "tags.`tracker.kind` = 'cell'",
        "orderByKey": "metrics.`best_acc`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
    }
    return json.dumps(state)


def describe_study(study: Study, result: str | None = None) -> str:
    """Return the experiment's description, in markdown.

    Args:
        result: markdown put right after the question, as the leaderboard.
    """
    cells = len(study.cells)
    lines = [
        f"**{study.question}**",
        "",
        *([result, ""] if result else []),
        f"{cells} cells, one run each, named `model/dataset/[other axes/]normalization/seed`. The run "
        f"`study: {study.name}` holds the study itself: the leaderboard, the figures and the exact definition.",
        "",
        "| axis | values |",
        "|---|---|",
        *(f"| {axis} | {_listed(values)} |" for axis, values in study.axes.items()),
        "",
        "Held constant: "
        + (", ".join(f"`{key}` {value}" for key, value in study.recipe.items()) or "the defaults")
        + ".",
        "",
        *_normalizations(study.axes.get("normalization", (study.recipe.get("normalization"),)), study.baseline),
        "",
        "| metric | unit | meaning |",
        "|---|---|---|",
        *(f"| {metric.name} | {metric.unit} | {metric.meaning} |" for metric in METRICS.values()),
        "",
        f"The same as a table: `tracker compare --study {study.name}`.",
    ]
    return "\n".join(lines)


def describe_cell(cell: Cell, study: Study, study_link: str | None) -> str:
    """Return a cell's description, in markdown."""
    recipe = cell.recipe
    part = f"[study {study.name}]({study_link})" if study_link else f"study {study.name}"
    meaning = normalization_meaning(recipe.normalization)
    start = f"torchvision's {recipe.weights}" if recipe.source == "torchvision" else f"source `{recipe.source}`"
    trained = TRAINED[recipe.tune]
    lines = [
        f"One cell of {part}: **{study.question}**",
        "",
        f"`{recipe.model}` from {start}, fine-tuned on `{recipe.dataset}` for {recipe.epochs} epochs; {trained}.",
        f"Images are normalized by **{recipe.normalization}**: {meaning}. Seed {recipe.seed}.",
        *([f"Their raw values were shifted first: `{recipe.shift}`."] if recipe.shift != AS_IS else []),
        "",
        f"Cell `{cell.id}` is the hash of everything that decides the result; the seed aside, it is configuration "
        f"`{configuration_name(cell)}`.",
    ]
    if cell.source is not None:
        keys = ", ".join(f"`{key}` {value}" for key, value in non_default(cell.source).items())
        lines += ["", f"The source was pre-trained with {keys}."]
    return "\n".join(lines)


def configuration_name(cell: Cell) -> str:
    """Return the cell's point without its seed as text, equal for replicates."""
    return ", ".join(f"{axis}={value}" for axis, value in cell.configuration)


def cell_tags(cell: Cell, study: Study, place: Mapping[str, str] | None) -> dict[str, str]:
    """Return the tags by which a cell's run is found again, and its description.

    The study's run is linked by tag and in the description. MLflow's own parent tag would fold
    the cells away under it, and its charts would show the parent alone.

    Args:
        place: experiment_id and run_id of the study's run, where known.
    """
    link = _run_fragment(**place) if place else None
    tags = {
        "tracker.kind": "cell",
        "tracker.study": study.name,
        "tracker.cell_id": cell.id,
        "tracker.configuration": configuration_name(cell),
        "mlflow.note.content": describe_cell(cell, study, link),
    }
    return {**tags, "tracker.study_run_id": place["run_id"]} if place else tags


def _run_fragment(experiment_id: str, run_id: str) -> str:
    return f"#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"


def _holds_out(study: Study) -> bool:
    values = study.axes.get("val_fraction", (study.recipe.get("val_fraction", 0.0),))
    return any(value for value in values)


def _listed(values: Sequence[Any]) -> str:
    more = f" and {len(values) - MAX_LISTED} more" if len(values) > MAX_LISTED else ""
    return ", ".join(str(value) for value in values[:MAX_LISTED]) + more


def _normalizations(names: Sequence[Any], baseline: str) -> list[str]:
    return [
        f"- **{name}**: {normalization_meaning(str(name))}" + (" (the baseline)" if name == baseline else "")
        for name in names
    ]
