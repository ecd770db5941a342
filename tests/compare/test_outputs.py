"""Rules of reading from MLflow: what a real store holds comes out whole, and nothing there is a clear error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.prepared_store import with_store
from tracker.compare.history import draw_history
from tracker.compare.leaderboard import build_leaderboard
from tracker.compare.outputs import leaderboard_of, write_study_outputs
from tracker.figures.style import LOOKS
from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.study import Study
from tracker.tracking.reading import read_runs
from tracker.tracking.server.addresses import database_uri
from tracker.tracking.writing import StudyTracking

ACCURACY = {"pretrain": 0.9, "finetune": 0.8, "minmax": 0.7}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Where the store of this file's tests lies."""
    return with_store(Home(tmp_path_factory.mktemp("store") / "mlruns"))


@pytest.fixture(scope="module")
def uri(home: Home, small: Study) -> Iterator[str]:
    """A real MLflow store with the small study, all of its cells finished but one that failed."""
    uri = database_uri(home)
    tracking = StudyTracking(uri, home, small)
    tracking.open()
    for cell in small.cells:
        run = tracking.cell_run(cell, f"{cell.id}-a1", {"tracker.test_images": "360"})
        top = ACCURACY[cell.recipe.normalization] + 0.01 * cell.recipe.seed
        for epoch, accuracy in enumerate((top, top - 0.05)):
            run.log_epoch(epoch, {"test_acc": accuracy})
        run.log_metrics({"best_acc": top, "last_acc": top - 0.05})
        run.finish("FAILED" if cell == small.cells[-1] else "FINISHED")
    tracking.finish("FINISHED")
    yield uri


def test_leaderboard_from_a_real_store(uri: str, small: Study, home: Home) -> None:
    """The newest study's leaderboard has every cell with its value, and the failed one as failed."""
    board = leaderboard_of(uri, home)
    assert board.study == "small"
    assert len(board.outcomes) == 18
    assert [outcome.state for outcome in board.outcomes] == ["measured"] * 17 + ["failed"]
    for outcome, cell in zip(board.outcomes, small.cells, strict=True):
        wanted = ACCURACY[cell.recipe.normalization] + 0.01 * cell.recipe.seed
        assert outcome.value == (wanted if outcome.state == "measured" else None)
        assert outcome.test_images == 360
    assert board == leaderboard_of(uri, home, "small", "best_acc", "pretrain")
    assert board.rows[0].scores["pretrain"].mean == pytest.approx(0.92)


def test_other_metric_and_baseline(uri: str, home: Home) -> None:
    """Metric and baseline asked for reach the leaderboard."""
    board = leaderboard_of(uri, home, "small", "last_acc", "minmax")
    delta = board.rows[0].scores["pretrain"].delta
    assert (board.metric, board.baseline) == ("last_acc", "minmax")
    assert board.rows[0].scores["pretrain"].mean == pytest.approx(0.87)
    assert delta is not None
    assert delta.mean == pytest.approx(0.2)


def test_unknown_study_is_an_error(uri: str, home: Home) -> None:
    """A study that MLflow does not hold is an error naming it."""
    with pytest.raises(TrackingError, match="nosuch"):
        leaderboard_of(uri, home, "nosuch")


def test_outputs_hold_every_board(uri: str, home: Home, tmp_path: Path) -> None:
    """The files for a study's run hold the leaderboards of all metrics, each named, and nothing else is left."""
    boards = [leaderboard_of(uri, home, "small", metric) for metric in ("best_acc", "last_acc")]
    paths = write_study_outputs(boards, tmp_path / "out")
    assert [path.name for path in paths] == ["leaderboard.md", "leaderboard.csv", "leaderboard.json"]
    assert set((tmp_path / "out").iterdir()) == set(paths)
    assert [board["metric"] for board in json.loads(paths[2].read_text())] == ["best_acc", "last_acc"]
    assert paths[1].read_text().count("\n") == 1 + 2 * 6
    assert paths[0].read_text().count("### small, ") == 2


def test_history_has_a_line_for_each_setting(uri: str, small: Study, tmp_path: Path) -> None:
    """The figure has the colour of every setting's curve and band in both panels, the two values of `tune`."""
    draw_history(uri, small, read_runs(uri, "small"), tmp_path / "history.png")
    with Image.open(tmp_path / "history.png") as image:
        picture = np.asarray(image.convert("RGB")).astype(int)
    middle = picture.shape[1] // 2
    above_legend = picture[: int(0.8 * picture.shape[0])]
    for setting in ("pretrain", "finetune", "minmax"):
        color = [int(LOOKS[setting].color[place : place + 2], 16) for place in (1, 3, 5)]
        for panel in (above_legend[:, :middle], above_legend[:, middle:]):
            assert (panel == color).all(axis=-1).sum() > 50


def test_history_of_nothing_finished(uri: str, small: Study, tmp_path: Path) -> None:
    """Without a finished run the figure is still there, and says so."""
    draw_history(uri, small, [], tmp_path / "history.png")
    assert (tmp_path / "history.png").is_file()


def test_a_changed_recipe_does_not_mix(uri: str, small: Study) -> None:
    """Runs of an earlier recipe are not in the table of the present one, and are counted."""
    document = small.document()
    document["recipe"] = {**document["recipe"], "lr": 0.1}
    changed = parse_study(document, file="small.yaml")
    board = build_leaderboard(changed, read_runs(uri, "small"))
    assert {outcome.state for outcome in board.outcomes} == {"missing"}
    assert "17 finished runs of other recipes are not part of this table." in board.notes
