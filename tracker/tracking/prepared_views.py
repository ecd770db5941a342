"""The views that MLflow's page of a study opens with: which columns, in which order, and which charts.

MLflow keeps a shared view as JSON in a tag of the experiment, `mlflow.sharedViewState.KEY`, and the address
of a page names the KEY. It documents neither tag nor JSON (both were read off MLflow 3.17's page); an MLflow
that does not know them shows its usual table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tracker.study.metrics import RANKING_METRICS
from tracker.study.study import Study

CELLS = "cells"
"""The key of the view with a row for each cell."""
CURVES = "curves"
"""The key of the view with a curve for each configuration, its seeds averaged."""
FIRST_COLUMNS = ("normalization",)
LAST_COLUMNS = ("seed", "dataset", "model")
"""Always in view, whether they are axes of the study or not; other axes stand between them and the first."""
LETTER = 6.2
"""Pixels that a letter of the table takes, about."""
NAME_WIDTHS = (200, 430)
COLUMN_WIDTHS = (70, 200)
"""Least and most pixels of a column; what is longer is cut by MLflow, with an ellipsis."""
NAME_MARGIN, MARGIN, SORT_MARGIN = 90, 28, 52
"""Pixels beside the text: for box and colour of a run, for nothing, and for the sign of the order."""


def view_tag(key: str) -> str:
    """Return the tag of an experiment that holds the view `key`."""
    return f"mlflow.sharedViewState.{key}"


def prepared_views(study: Study) -> dict[str, str]:
    """Return the tags of an experiment that hold its views, each JSON: the table of the cells, and their curves."""
    held_out = _holds_out(study)
    table = _table(study, held_out)
    cells = _charts(held_out, {"Settings": [_parallel(study)]})
    seeds_averaged = {
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": "tracker.configuration"}],
        }
    }
    views = {CELLS: {**table, **cells}, CURVES: {**table, **_charts(held_out, {}), **seeds_averaged}}
    return {view_tag(key): json.dumps(state, separators=(",", ":")) for key, state in views.items()}


def _table(study: Study, held_out: bool) -> dict[str, Any]:
    """Return rows, columns and order: cells alone, axes first, then accuracies, the best cell on top."""
    settings = _settings(study)
    accuracies = [name for name in RANKING_METRICS if name != "selected_acc" or held_out]
    params = {f"params.`{name}`": _width(COLUMN_WIDTHS, MARGIN, [name, *values]) for name, values in settings.items()}
    metrics = {f"metrics.`{name}`": _width(COLUMN_WIDTHS, SORT_MARGIN, [name]) for name in accuracies}
    widths = {
        "attributes.`Run Name`": _width(NAME_WIDTHS, NAME_MARGIN, [cell.name for cell in study.cells]),
        "runDateAndNestInfo": 132,
        **params,
        **metrics,
        "duration": 90,
    }
    return {
        "searchFilter": "tags.`tracker.kind` = 'cell'",
        "orderByKey": "metrics.`best_acc`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [*params, *metrics],
        "columnOrder": list(widths),
        "columnWidths": widths,
        "runsHiddenMode": "FIRST_20_RUNS",
    }


def _settings(study: Study) -> dict[str, list[str]]:
    """Return the params that tell cells apart, in the order of their columns, each with its values."""
    others = [axis for axis in study.axes if axis not in (*FIRST_COLUMNS, *LAST_COLUMNS)]
    return {
        name: sorted({str(getattr(cell.recipe, name)) for cell in study.cells})
        for name in (*FIRST_COLUMNS, *others, *LAST_COLUMNS)
    }


def _width(bounds: tuple[int, int], margin: int, texts: Sequence[str]) -> int:
    least, most = bounds
    return round(min(most, max(least, margin + LETTER * max(map(len, texts), default=0))))


def _charts(held_out: bool, more: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, Any]:
    """Return sections of charts, three in a row: what is asked first; the rest of the metrics have none.

    Args:
        more: further sections.
    """
    sections: dict[str, Sequence[dict[str, Any]]] = {
        "Accuracy": [_line("test_acc"), _bar("best_acc"), _line("val_acc" if held_out else "train_acc")],
        "Loss": [_line("train_loss"), _line("test_loss"), *([_line("val_loss")] if held_out else [])],
        **more,
        "Speed": [_line("epoch_seconds"), _line("images_per_second")],
    }
    return {
        "compareRunSections": [
            {"uuid": name, "name": name, "display": True, "isReordered": True, "deleted": False, "isGenerated": False}
            for name in sections
        ],
        "compareRunCharts": [
            {**chart, "metricSectionId": name, "deleted": False, "isGenerated": False}
            for name, charts in sections.items()
            for chart in charts
        ],
        "isAccordionReordered": True,
    }


def _line(metric: str) -> dict[str, Any]:
    """Return a chart of one metric over the epochs."""
    return {
        "uuid": f"line-{metric}",
        "type": "LINE",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "runsCountToCompare": 20,
        "lineSmoothness": 0,
        "scaleType": "linear",
        "xAxisScaleType": "linear",
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "range": {},
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _bar(metric: str) -> dict[str, Any]:
    """Return a chart of one metric's last value, a bar for each run."""
    return {"uuid": f"bar-{metric}", "type": "BAR", "metricKey": metric, "runsCountToCompare": 20}


def _parallel(study: Study) -> dict[str, Any]:
    """Return a chart of how the axes lead to the accuracy, a line for each cell."""
    return {
        "uuid": "axes",
        "type": "PARALLEL",
        "selectedParams": list(study.axes),
        "selectedMetrics": ["best_acc"],
        "runsCountToCompare": 100,
        "showAllRuns": True,
    }


def _holds_out(study: Study) -> bool:
    """Say whether any cell has a validation split."""
    return any(cell.recipe.val_fraction for cell in study.cells)
