"""What someone reads who opens the MLflow UI: descriptions and addresses."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tracker.study.metrics import METRICS
from tracker.study.printing import markdown_text, shown
from tracker.study.recipe import non_default, normalization_meaning
from tracker.study.shifts import AS_IS
from tracker.study.study import Cell, Study
from tracker.tracking.prepared_views import CELLS, CURVES
from tracker.tracking.records import RunRecord

TRAINED = {
    "full": "every parameter is trained",
    "head": "only the head is trained",
    "head+bn": "only the head and BatchNorm are trained",
}
MAX_LISTED = 30
"""Values of an axis named in a description; MLflow takes 20,000 characters in all."""


def experiment_url(uri: str, experiment_id: str, view: str | None = CELLS) -> str:
    """Return the address of an experiment's table of runs.

    Args:
        view: a key of `prepared_views`, which experiments made by `StudyTracking` have; None for MLflow's usual table.
    """
    return f"{shown(uri).rstrip('/')}/{_experiment_fragment(experiment_id, view)}"


def run_url(uri: str, experiment_id: str, run_id: str) -> str:
    """Return the address of a run's page."""
    return f"{shown(uri).rstrip('/')}/{_run_fragment(experiment_id, run_id)}"


def describe_study(
    study: Study,
    result: str | None = None,
    *,
    headline: str | None = None,
    state: str | None = None,
    place: Mapping[str, str] | None = None,
) -> str:
    """Return the description of the experiment and of the study's run, in markdown.

    MLflow folds it after two lines, or five: what is asked, answered and done comes first.

    Args:
        result: markdown put before the definition, as the leaderboard.
        headline: the answer in a sentence.
        state: how much is done, from `describe_state`.
        place: experiment_id and run_id of the study's run, where known; linked to.
    """
    cells = len(study.cells)
    lines = [
        f"**{markdown_text(study.question)}**",
        "",
        *([headline, ""] if headline else []),
        " ".join([*([f"{state}."] if state else []), *(_links(**place) if place else [])]),
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
    return _spaced("\n".join(lines))


def describe_state(study: Study, runs: Sequence[RunRecord]) -> str:
    """Return how many cells of the study are done, and when that was so."""
    latest = {run.cell_id: run.status for run in runs}
    found = Counter(latest.get(cell.id, "") for cell in study.cells)
    words = {"RUNNING": "running", "FAILED": "failed", "KILLED": "stopped", "": "not run yet"}
    others = "".join(f", {found[status]} {word}" for status, word in words.items() if found[status])
    return f"{found['FINISHED']} of {len(study.cells)} cells finished{others}, {_moment()}"


def describe_begin(study: Study) -> str:
    """Return what stands in place of a state while the study is swept."""
    return f"{len(study.cells)} cells, being swept since {_moment()}"


def describe_cell(cell: Cell, study: Study, study_link: str | None) -> str:
    """Return a cell's description, in markdown."""
    recipe = cell.recipe
    part = f"[study {study.name}]({study_link})" if study_link else f"study {study.name}"
    meaning = normalization_meaning(recipe.normalization)
    start = f"torchvision's {recipe.weights}" if recipe.source == "torchvision" else f"source `{recipe.source}`"
    trained = TRAINED[recipe.tune]
    lines = [
        f"One cell of {part}: **{markdown_text(study.question)}**",
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


def _experiment_fragment(experiment_id: str, view: str | None) -> str:
    """Return the part of an address that names a page.

    Without `workflowType` MLflow's first visit opens in its mode for language models, which hides the runs.
    """
    share = f"&viewStateShareKey={view}" if view else ""
    return f"#/experiments/{experiment_id}/runs?workflowType=machine_learning{share}"


def _run_fragment(experiment_id: str, run_id: str, page: str = "") -> str:
    return f"#/experiments/{experiment_id}/runs/{run_id}{page}?workflowType=machine_learning"


def _links(experiment_id: str, run_id: str) -> list[str]:
    """Return links to the pages of a study, within MLflow."""
    curves = f"{_experiment_fragment(experiment_id, CURVES)}&compareRunsMode=CHART"
    return [
        f"[Runs]({_experiment_fragment(experiment_id, CELLS)})",
        f"· [Curves, averaged over seeds]({curves})",
        f"· [Leaderboard, figures, report]({_run_fragment(experiment_id, run_id, '/artifacts')})",
    ]


def _moment() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


def _spaced(markdown: str) -> str:
    """Put space between the columns of tables: MLflow's page draws them without any."""
    rows = re.compile(r"^\|(?![-:| ]+$).*\|$", re.MULTILINE)
    return rows.sub(lambda row: row[0].replace(" |", "&emsp; |"), markdown)


def _listed(values: Sequence[Any]) -> str:
    more = f" and {len(values) - MAX_LISTED} more" if len(values) > MAX_LISTED else ""
    return ", ".join(str(value) for value in values[:MAX_LISTED]) + more


def _normalizations(names: Sequence[Any], baseline: str) -> list[str]:
    return [
        f"- **{name}**: {normalization_meaning(str(name))}" + (" (the baseline)" if name == baseline else "")
        for name in names
    ]
