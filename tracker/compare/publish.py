"""Put a study's leaderboard where people look for it: on the study's run in MLflow."""

from __future__ import annotations

from tracker.compare.answer import answer
from tracker.compare.history import draw_history
from tracker.compare.markdown import markdown
from tracker.compare.outputs import judged_leaderboard, write_study_outputs
from tracker.compare.scores import Leaderboard
from tracker.study.home import Home
from tracker.tracking.reading import read_runs
from tracker.tracking.writing import StudyTracking

HEADLINE = "best_acc"
"""What the reference study reports, and what stands first here; the others are in the files."""


def publish_leaderboard(tracking: StudyTracking, home: Home) -> Leaderboard:
    """Log the leaderboards and the history figure to a study's open run, and open its description with the table.

    Args:
        tracking: after `open`, before `finish`.

    Returns:
        The leaderboard by best_acc.

    Raises:
        TrackingError: MLflow does not answer.

    Writes: artifacts and description of the study's run, description of its experiment.
    """
    study = tracking.study
    runs = read_runs(tracking.uri, study.name)
    metrics = [HEADLINE, "last_acc"]
    if any("selected_acc" in run.metrics for run in runs):
        metrics.append("selected_acc")
    boards = [judged_leaderboard(tracking.uri, home, study, runs, metric) for metric in metrics]
    with home.scratch("leaderboard") as folder:
        for path in write_study_outputs(boards, folder):
            tracking.log_file(path, "leaderboard")
        if any(run.status == "FINISHED" for run in runs):
            picture = folder / "history.png"
            draw_history(tracking.uri, study, runs, picture)
            tracking.log_file(picture, "figures")
    tracking.note(markdown(boards[0]), headline=answer(boards[0])[0], runs=runs)
    return boards[0]
