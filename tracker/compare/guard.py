"""What must be equal in two runs for the difference of their accuracies to be one of normalization."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker.compare.scores import Outcome
    from tracker.tracking.records import RunRecord

CONDITIONS = {
    "tracker.protocol": "protocol of training",
    "dataset.fingerprint": "content of the dataset",
    "source.fingerprint": "weights of the source",
    "tracker.train_images": "number of training images",
    "tracker.test_images": "number of test images",
    "version.torch": "version of torch",
    "version.torchvision": "version of torchvision",
}
"""Tags of a run, each with what it means; the recipe itself is in the cell's id, and the seeds are paired."""


def conditions_of(run: RunRecord) -> dict[str, str]:
    """Return what a run says of the conditions it was made under; what it does not say is left out."""
    tags = {"tracker.protocol": str(PROTOCOL_UNSAID), **run.tags}
    return {tag: tags[tag] for tag in CONDITIONS if tag in tags}


PROTOCOL_UNSAID = 1
"""Runs made before the protocol was written down were made under the first."""


def obstacles(outcomes: Iterable[Outcome]) -> list[str]:
    """Say what the runs of one comparison do not have in common, a line for each condition that differs."""
    values: dict[str, dict[str, None]] = {}
    for outcome in outcomes:
        for tag, value in outcome.conditions.items():
            values.setdefault(tag, {})[value] = None
    return [
        f"{meaning} ({' / '.join(sorted(_short(value) for value in values[tag]))})"
        for tag, meaning in CONDITIONS.items()
        if len(values.get(tag, ())) > 1
    ]


def _short(value: str) -> str:
    """Return a version, a count or the first digits of a hash; in MLflow anybody could write something else there."""
    return re.sub(r"[^\w.+-]", "?", value[:12])
