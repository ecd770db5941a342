"""Studies on digits, made of a few changed keys."""

from __future__ import annotations

from typing import Any

from tracker.study.load import parse_study
from tracker.study.study import Study

DATASETS: dict[str, dict[str, Any]] = {
    "low": {"kind": "digits", "classes": [0, 1, 2, 3, 4], "image_size": 16},
    "high": {"kind": "digits", "classes": [5, 6, 7, 8, 9], "image_size": 16},
    "own": {"kind": "folder", "path": "/data/own"},
}
SOURCES: dict[str, dict[str, Any]] = {"low": {"dataset": "low", "epochs": 1}, "other": {"dataset": "own", "lr": 0.1}}


def make(
    recipe: dict[str, Any] | None = None,
    axes: dict[str, Any] | None = None,
    datasets: dict[str, Any] | None = None,
    sources: dict[str, Any] | None = None,
    **others: Any,
) -> Study:
    """Build a study on digits; entries of `datasets` and `sources` are put into those above."""
    axes = {"seed": [1, 2]} if axes is None else axes
    needed = {"model": "resnet18", "dataset": "high", "normalization": "pretrain", "source": "low"}
    held = {key: value for key, value in {**needed, **(recipe or {})}.items() if key not in axes}
    document = {
        "name": "made",
        "question": "Which?",
        "baseline": axes["normalization"][0] if "normalization" in axes else held["normalization"],
        "recipe": held,
        "axes": axes,
        "datasets": {name: {**entry, **(datasets or {}).get(name, {})} for name, entry in DATASETS.items()},
        "sources": {name: {**entry, **(sources or {}).get(name, {})} for name, entry in SOURCES.items()},
    }
    return parse_study({**document, **others}, file="made.yaml")
