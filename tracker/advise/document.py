"""The look and the answer as plain JSON values."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tracker.advise.advising import METRIC, Advice
from tracker.advise.request import Request
from tracker.compare.data import document as leaderboard_document
from tracker.vision.inspection.findings import Inspection

SCHEMA = 1
"""Raised when a key changes its meaning or goes away."""


def look_document(inspection: Inspection, request: Request) -> dict[str, Any]:
    """Return a look through a folder.

    schema      1
    source      {name, model, weights, fingerprint, statistics: {mean, std} or null}
    inspection  `Inspection.plain()`
    """
    statistics = request.source.statistics
    return {
        "schema": SCHEMA,
        "source": {**request.source.identity, "statistics": None if statistics is None else _lists(asdict(statistics))},
        "inspection": inspection.plain(),
    }


def advice_document(advice: Advice) -> dict[str, Any]:
    """Return everything: the look's keys, and

    study           its name in ledger and MLflow
    tune, metric, rope (a fraction)
    plan            {epochs, batch_size, train, test, cell_seconds}
    ending          decided, no use, budget, unfinished
    runs            {done, all}
    spent_seconds   of the finished ones
    left_out        {SETTING: the one that it equals}
    failures        [{run, reason}]
    recommendation  {setting, certainty, headline, findings, unjudged, basis, ways_on}
    caveats         sentences
    code            {SETTING: Python}, the recommended one's first
    leaderboard     as `tracker compare --format json` has it, or null
    """
    first = advice.recommendation.setting
    board = advice.outcome.board
    return {
        **look_document(advice.inspection, advice.request),
        "study": advice.names.study,
        "tune": advice.request.tune,
        "metric": METRIC,
        "rope": advice.rope,
        "plan": asdict(advice.plan),
        "ending": advice.outcome.ending,
        "runs": {"done": advice.runs[0], "all": advice.runs[1]},
        "spent_seconds": advice.spent,
        "left_out": dict(advice.same),
        "failures": [{"run": name, "reason": reason} for name, reason in advice.outcome.failures],
        "recommendation": _lists(asdict(advice.recommendation)),
        "caveats": list(advice.caveats),
        "code": {name: str(advice.codes[name]) for name in sorted(advice.codes, key=lambda name: name != first)},
        "leaderboard": None if board is None else leaderboard_document(board),
    }


def _lists(values: dict[str, Any]) -> dict[str, Any]:
    """Return tuples as lists, as JSON reads them back."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
