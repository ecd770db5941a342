"""A small study to log, and what the journal holds of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tracker.study.load import parse_study
from tracker.study.study import Study


@pytest.fixture
def study(request: pytest.FixtureRequest) -> Study:
    """Two cells, in an experiment of the test's own."""
    document = {
        "name": request.node.name.replace("[", "-").replace("]", "")[:80],
        "question": "Does it matter?",
        "recipe": {"model": "resnet18", "dataset": "digits"},
        "axes": {"normalization": ["pretrain", "minmax"], "seed": [1]},
    }
    return parse_study(document, file="test.yaml")


def written(folder: Path, metric: str) -> list[tuple[int, float, int]]:
    """Return (step, value, timestamp) of a metric from the one journal in `folder`."""
    (path,) = folder.glob("*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [(e["step"], e["values"][metric], e["time"]) for e in lines if metric in e.get("values", {})]
