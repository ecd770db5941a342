"""From MLflow to leaderboards, and from leaderboards to the files of a study's run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tracker.compare.comparison import Rules
from tracker.compare.data import csv_text, json_list_text
from tracker.compare.grading import RULES
from tracker.compare.leaderboard import build_leaderboard, unknown_metric
from tracker.compare.markdown import markdown
from tracker.compare.predictions import PredictionStore
from tracker.compare.scores import Leaderboard
from tracker.significance.verdicts import ROPE
from tracker.study.errors import TrackingError
from tracker.study.home import Home, replacing
from tracker.study.load import parse_study
from tracker.study.study import Study
from tracker.tracking.client import shown
from tracker.tracking.reading import newest_study, read_runs, read_study
from tracker.tracking.records import RunRecord, StudyRecord


def leaderboard_of(
    uri: str,
    home: Home,
    study_name: str | None = None,
    metric: str = "best_acc",
    baseline: str | None = None,
    *,
    rope: float = ROPE,
    force: bool = False,
) -> Leaderboard:
    """Read a study, its runs and their predictions from MLflow and compare its normalizations.

    The grid is the study's definition as last swept, which its run in MLflow holds.

    Args:
        uri: where MLflow keeps the runs.
        home: where predictions that were read are kept.
        study_name: the newest study if None.
        metric: one of `RANKING_METRICS`.
        baseline: the study's own if None.
        rope: differences below it are of no use, a fraction.
        force: judge also runs that were made under different conditions.

    Raises:
        TrackingError: MLflow does not answer, or holds no study, or not this one.
        UsageError: an unknown metric or baseline.
    """
    study, _ = swept_study(uri, study_name)
    return judged_leaderboard(uri, home, study, read_runs(uri, study.name), metric, baseline, rope=rope, force=force)


def swept_study(uri: str, study_name: str | None = None) -> tuple[Study, StudyRecord]:
    """Return a study as it was last swept, and its run.

    Args:
        study_name: the newest study if None.

    Raises:
        TrackingError: MLflow does not answer, or holds no study, or not this one.
    """
    record = newest_study(uri) if study_name is None else read_study(uri, study_name)
    if record is None:
        raise TrackingError(f"there is no study at {shown(uri)} yet", "tracker sweep --study quickstart")
    return parse_study(record.document, file=f"study {record.name} at {shown(uri)}"), record


def judged_leaderboard(
    uri: str,
    home: Home,
    study: Study,
    runs: Sequence[RunRecord],
    metric: str = "best_acc",
    baseline: str | None = None,
    *,
    rope: float = ROPE,
    force: bool = False,
) -> Leaderboard:
    """Compare a study's normalizations by its runs and their stored predictions.

    Raises:
        TrackingError: MLflow does not answer.
        UsageError: an unknown metric or baseline.
    """
    if metric not in RULES:
        raise unknown_metric(metric)
    finished = [run for run in runs if run.cell_id and run.status == "FINISHED"]
    grades = PredictionStore(uri, home, study.name).grades(finished, metric)
    rules = Rules(rope=rope, look=study.looks, force=force)
    return build_leaderboard(study, runs, metric, baseline, grades=grades, rules=rules)


def write_study_outputs(boards: Sequence[Leaderboard], folder: Path) -> list[Path]:
    """Write leaderboards of one study, one a metric, for its run in MLflow.

    Returns:
        leaderboard.md, leaderboard.csv and leaderboard.json (an array), each with every board.

    Writes: the three files, with their folder.
    """
    texts = {
        "leaderboard.md": "\n".join(markdown(board) for board in boards),
        "leaderboard.csv": csv_text(boards),
        "leaderboard.json": json_list_text(boards),
    }
    paths = []
    for name, text in texts.items():
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
        paths.append(folder / name)
    return paths
