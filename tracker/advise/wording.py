"""Durations and plans in words."""

from __future__ import annotations

import math

from tracker.advise.planning import Plan
from tracker.advise.request import Request
from tracker.significance.verdicts import FIRST_SEEDS
from tracker.study.wording import counted
from tracker.vision.images import ImageSet


def duration(seconds: float) -> str:
    """Return a time as `--budget` takes it, rounded up: `45s`, `10m`, `1.5h`."""
    if seconds < 100:
        return f"{math.ceil(seconds)}s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes}m" if minutes < 120 else f"{math.ceil(minutes / 6) / 10:g}h"


def plan_text(plan: Plan, images: ImageSet, settings: int, request: Request) -> str:
    """Say what the first round will be: sizes, and how long it is expected to take."""
    cells = settings * FIRST_SEEDS
    return (
        f"plan: {settings} settings x {FIRST_SEEDS} seeds of {request.source.model}, tune {request.tune}; "
        f"{counted(plan.epochs, 'epoch')} on {_part(plan.train, len(images.train))} training images, "
        f"tested on {_part(plan.test, len(images.test))}, batch {plan.batch_size}; about {duration(plan.cell_seconds)} "
        f"a run, {duration(plan.cell_seconds * cells)} for the first round"
    )


def used_text(plan: Plan) -> str:
    """Say what each run was given."""
    return (
        f"{counted(plan.epochs, 'epoch')} on {counted(plan.train, 'image')}, batch {plan.batch_size}, tested on "
        f"{counted(plan.test, 'image')}"
    )


def _part(used: int, there: int) -> str:
    return f"all {there:,}" if used == there else f"{used:,} of {there:,}"
