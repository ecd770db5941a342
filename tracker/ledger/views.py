"""A cell's row in the words of Optuna's tables."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import CategoricalDistribution, distribution_to_json

from tracker.ledger.rows import OBJECTIVE, CellRow
from tracker.study.recipe import Scalar


def choices(points: Iterable[Mapping[str, Scalar]]) -> dict[str, tuple[Scalar, ...]]:
    """Return each axis's choices: the values its cells have, in the order of the grid."""
    values: dict[str, dict[Scalar, None]] = defaultdict(dict)
    for point in points:
        for axis, value in point.items():
            values[axis][value] = None
    return {axis: tuple(of_axis) for axis, of_axis in values.items()}


def choice_texts(points: Iterable[Mapping[str, Scalar]]) -> dict[str, str]:
    """Return each axis's choices as the distribution that Optuna writes beside every value."""
    return {axis: distribution_to_json(CategoricalDistribution(of)) for axis, of in choices(points).items()}


def link(row: CellRow) -> dict[str, Any]:
    """Return the change that notes which trial is the row's."""
    return {"of_cell": row.cell_id, "trial_id": row.trial_id, "trial_number": row.trial_number}


def name_rows(row: CellRow) -> list[dict[str, Any]]:
    """Return how a row's trial says which cell it is."""
    return _lines(row, {"cell_id": row.cell_id, "cell": row.name})


def attribute_rows(row: CellRow) -> list[dict[str, Any]]:
    """Return what a row's trial says beside its value, once it is closed."""
    if row.state == "COMPLETE":
        return _lines(row, {**(row.metrics or {}), "mlflow_run_id": row.run_id, "seconds": row.seconds})
    if row.state == "FAIL":
        failure = f"{row.failure_kind}: {row.failure_message}"
        return _lines(row, {"failure": failure, "failure_class": row.failure_class, "mlflow_run_id": row.run_id})
    return []


def value_rows(row: CellRow) -> list[dict[str, Any]]:
    """Return the value of a row's trial, if it has one."""
    if row.state != "COMPLETE" or not row.metrics:
        return []
    value = row.metrics[OBJECTIVE]
    return [{"trial_id": row.trial_id, "objective": 0, "value": value, "value_type": "FINITE"}]


def _lines(row: CellRow, attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"trial_id": row.trial_id, "key": key, "value_json": json.dumps(said)} for key, said in attributes.items()]


def naive(moment: datetime) -> datetime:
    """Return naive UTC, as Optuna's tables have it."""
    return moment.astimezone(UTC).replace(tzinfo=None)
