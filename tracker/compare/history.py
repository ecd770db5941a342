"""A study's learning histories side by side: gathers curves, and has them drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tracker.compare.leaderboard import counting_run, normalizations_of, rows_of
from tracker.figures.grid import history_grid
from tracker.study.metrics import METRICS
from tracker.study.recipe import Scalar
from tracker.study.study import Study
from tracker.tracking.reading import read_histories
from tracker.tracking.records import RunRecord

Panel = tuple[str, str]


@dataclass(frozen=True)
class History:
    """A metric by epoch over a study's finished cells, laid out as a grid of panels.

    Args:
        curves: by (row, column) and setting, one history a seed; a value an epoch from 0, fractions.
        rows, columns: the grid's labels; models go down, datasets across.
        settings: the lines.
        title: names study and metric.
    """

    curves: Mapping[Panel, Mapping[str, Sequence[Sequence[float]]]]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    settings: tuple[str, ...]
    title: str

    def draw(self, path: Path) -> None:
        """Draw the grid. Writes: `path`, by the rule of `tracker.figures.files`."""
        history_grid(self.curves, path, self.rows, self.columns, self.settings, self.title)


def read_history(uri: str, study: Study, runs: Iterable[RunRecord], metric: str = "test_acc") -> History:
    """Read a metric's histories of a study's finished cells.

    Args:
        uri: where MLflow keeps the runs.
        study: the grid.
        runs: the study's runs; of each cell the one that counts in the leaderboard is read.
        metric: one that is logged every epoch, an accuracy.

    Raises:
        TrackingError: MLflow does not answer.
    """
    runs_of: dict[str, list[RunRecord]] = defaultdict(list)
    for run in runs:
        runs_of[run.cell_id].append(run)
    labels, places = _panels(study)
    finished: dict[str, tuple[Panel, str]] = {}
    for panel, (_, cells) in zip(places, rows_of(study), strict=True):
        for cell in cells:
            counting = counting_run(runs_of.get(cell.id, ()))
            if counting is not None and counting.status == "FINISHED":
                finished[counting.run_id] = (panel, cell.recipe.normalization)
    curves: dict[Panel, dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    for run_id, points in read_histories(uri, list(finished), metric).items():
        panel, setting = finished[run_id]
        curves[panel][setting].append([value for _, value in points])
    rows, columns = labels
    title = f"{study.name}, {metric}: {METRICS[metric].meaning.rstrip('.').lower()}, by epoch"
    return History(curves, tuple(rows), tuple(columns), normalizations_of(study), title)


def draw_history(uri: str, study: Study, runs: Iterable[RunRecord], path: Path, metric: str = "test_acc") -> None:
    """Draw a metric by epoch over a study's finished cells: rows models, columns datasets, one line a setting.

    Raises:
        TrackingError: MLflow does not answer.

    Writes: `path`.
    """
    read_history(uri, study, runs, metric).draw(path)


def _panels(study: Study) -> tuple[tuple[list[str], list[str]], list[Panel]]:
    """Place a study's rows in a grid: the labels of its rows and columns, and the panel of each row.

    Models go down and datasets across; other axes join whichever of the two has fewer values.
    """
    labels = [label for label, _ in rows_of(study)]
    models = {label["model"] for label in labels}
    datasets = {label["dataset"] for label in labels}
    others_down = len(models) < len(datasets)
    places = []
    for label in labels:
        others = [_words(key, value) for key, value in label.items() if key not in ("model", "dataset")]
        row = [str(label["model"]), *(others if others_down else [])]
        column = [str(label["dataset"]), *([] if others_down else others)]
        places.append((", ".join(row), ", ".join(column)))
    return (list(dict.fromkeys(row for row, _ in places)), list(dict.fromkeys(column for _, column in places))), places


def _words(key: str, value: Scalar) -> str:
    return value if isinstance(value, str) else f"{key}={value}"
