"""The shift of results whose images are not at hand: from channel statistics alone."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tracker.compare.reporting.channels import Channels
from tracker.compare.shift import REFERENCE_TAG
from tracker.study.study import Study
from tracker.vision.images import Statistics
from tracker.vision.statistics import PUBLISHED, shifted

if TYPE_CHECKING:
    from tracker.tracking.records import RunRecord


def with_shifts(study: Study, runs: Sequence[RunRecord], channels: Sequence[Channels]) -> list[RunRecord]:
    """Give runs the shifts of mean and deviation that a sweep logs, for networks pre-trained on ImageNet.

    Args:
        channels: what each dataset becomes under each normalization.
    """
    from tracker.vision.shift import IMAGENET_PIXELS  # imports torch

    fed = shifted(IMAGENET_PIXELS, PUBLISHED["imagenet"])
    after = {(each.dataset, each.setting): Statistics(each.mean, each.std) for each in channels}
    cells = {cell.id: cell.recipe for cell in study.cells}
    found = []
    for run in runs:
        recipe = cells[run.cell_id]
        if (own := after.get((recipe.dataset, recipe.normalization))) is not None:
            shift = {"shift_mean": _distance(own.mean, fed.mean), "shift_std": _distance(own.std, fed.std)}
            run = replace(run, metrics={**run.metrics, **shift}, tags={**run.tags, REFERENCE_TAG: "imagenet"})
        found.append(run)
    return found


def _distance(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.mean(abs(one - other) for one, other in zip(ours, theirs, strict=True))
