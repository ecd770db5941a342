"""How a study's results came about: recipe, versions, commits, machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracker.compare.scores import Leaderboard
from tracker.study.recipe import RECIPE_KEYS, Recipe
from tracker.study.study import Study

if TYPE_CHECKING:
    from tracker.tracking.records import RunRecord

Counts = tuple[tuple[str, int], ...]
"""Values with how many runs say each, the commonest first."""

VERSION_TAG = "version."
PLACE = "FOLDER"
"""Stands for a dataset's folder: where one lies is a matter of the machine."""


@dataclass(frozen=True)
class Protocol:
    """What the finished runs of a study say of how they were made.

    Args:
        recipe: every key with its value, or "varies"; model, dataset and normalization stand in the tables.
        seeds: of the study.
        versions: by package.
        commits: of the program, with `+` where it had changes.
        devices: what was trained on.
        sources: of the starting weights, by their fingerprint.
        finished: how many runs these are.
        last: when the last of them ended, milliseconds since 1970; None without any.
    """

    recipe: tuple[tuple[str, str], ...]
    seeds: tuple[int, ...]
    versions: tuple[tuple[str, Counts], ...]
    commits: Counts
    devices: Counts
    sources: Counts
    finished: int
    last: int | None


def protocol_of(study: Study, board: Leaderboard, runs: Sequence[RunRecord]) -> Protocol:
    """Gather the circumstances of the runs that count in a leaderboard."""
    counting = {outcome.run_id for outcome in board.outcomes if outcome.state in ("measured", "unmeasured")}
    made = [run for run in runs if run.run_id in counting]
    packages = sorted({tag for run in made for tag in run.tags if tag.startswith(VERSION_TAG)})
    return Protocol(
        recipe=tuple(_recipe(study)),
        seeds=tuple(dict.fromkeys(cell.recipe.seed for cell in study.cells)),
        versions=tuple((tag.removeprefix(VERSION_TAG), _counts(made, tag)) for tag in packages),
        commits=_counted(
            run.tags["git.commit"][:12] + "+" * (run.tags.get("git.dirty") == "true")
            for run in made
            if "git.commit" in run.tags
        ),
        devices=_counts(made, "device"),
        sources=_counts(made, "source.fingerprint"),
        finished=len(made),
        last=max((run.end_time for run in made if run.end_time is not None), default=None),
    )


def definition(study: Study) -> dict[str, Any]:
    """Return a study's definition without the places where its images lie."""
    document = study.document()
    for spec in document.get("datasets", {}).values():
        if "path" in spec:
            spec["path"] = PLACE
    return document


def _recipe(study: Study) -> list[tuple[str, str]]:
    defaults = {name: info.default for name, info in Recipe.model_fields.items()}
    told = []
    for key in RECIPE_KEYS:
        if key in ("model", "dataset", "normalization", "seed"):
            continue
        values = list(dict.fromkeys(getattr(cell.recipe, key) for cell in study.cells))
        if key == "weights" and not any(cell.recipe.source == "torchvision" for cell in study.cells):
            continue
        if values == [None] and defaults[key] is None:
            continue  # a limit that is not set
        told.append((key, ", ".join(_value(value) for value in values)))
    return told


def _value(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _counts(runs: Sequence[RunRecord], tag: str) -> Counts:
    return _counted(run.tags[tag] for run in runs if run.tags.get(tag))


def _counted(values: Any) -> Counts:
    return tuple(sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0])))
