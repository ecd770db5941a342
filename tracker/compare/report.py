"""From MLflow to leaderboards, and from leaderboards to the files of a study's run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tracker.compare.data import csv_text, json_list_text
from tracker.compare.leaderboard import build_leaderboard
from tracker.compare.markdown import markdown
from tracker.compare.scores import Leaderboard
from tracker.study.errors import TrackingError
from tracker.study.home import replacing
from tracker.study.load import parse_study
from tracker.tracking.reading import newest_study, read_runs, read_study


def leaderboard_of(
    uri: str, study_name: str | None = None, metric: str = "best_acc", baseline: str | None = None
) -> Leaderboard:
    """Read a study and its runs from MLflow and compare its normalizations.

    The grid is the study's definition as last swept, which its run in MLflow holds.

    Args:
        uri: where MLflow keeps the runs.
        study_name: the newest study if None.
        metric: one of `RANKING_METRICS`.
        baseline: the study's own if None.

    Raises:
        TrackingError: MLflow does not answer, or holds no study, or not this one.
        UsageError: an unknown metric or baseline.
    """
    record = newest_study(uri) if study_name is None else read_study(uri, study_name)
    if record is None:
        raise TrackingError(f"there is no study at {uri} yet", "tracker sweep --study quickstart")
    study = parse_study(record.document, file=f"study {record.name} at {uri}")
    return build_leaderboard(study, read_runs(uri, record.name), metric, baseline)


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
