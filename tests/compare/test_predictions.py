"""Rules of reading predictions: read once, kept as bits, and nothing that is stored can do harm."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.prepared_store import with_store
from tracker.compare.grading import RULES, Graded
from tracker.compare.outputs import leaderboard_of
from tracker.compare.predictions import PredictionStore, grade
from tracker.study.home import Home
from tracker.study.study import Study
from tracker.tracking import files
from tracker.tracking.reading import read_runs
from tracker.tracking.records import RunRecord
from tracker.tracking.server.addresses import database_uri
from tracker.tracking.writing import StudyTracking

IMAGES = 50


def archive(**arrays: Any) -> bytes:
    """Return a numpy archive."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def predictions(wrong: int, **changes: Any) -> bytes:
    """Return what a worker stores: the first `wrong` images are given the wrong class, at the last epoch one more."""
    labels = np.arange(IMAGES, dtype=np.int32) % 5
    best, last = labels.copy(), labels.copy()
    best[:wrong] += 1
    last[: wrong + 1] += 1
    return archive(
        **{"index": np.arange(IMAGES, dtype=np.int32), "labels": labels, "best": best, "last": last, **changes}
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, small: Study) -> Iterator[Home]:
    """A real MLflow store: the small study, every cell with predictions; the last one's are damaged, one has none."""
    folder = tmp_path_factory.mktemp("store")
    home = with_store(Home(folder / "mlruns"))
    tracking = StudyTracking(database_uri(home), home, small)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # without a server MLflow puts files below the current folder
        tracking.open()
    for number, cell in enumerate(small.cells):
        wrong = 1 + number % 7
        run = tracking.cell_run(cell, f"{cell.id}-a1", {"tracker.test_images": str(IMAGES)})
        run.log_metrics({"best_acc": 1 - wrong / IMAGES, "last_acc": 1 - (wrong + 1) / IMAGES})
        path = folder / "predictions.npz"
        content = predictions(wrong)
        path.write_bytes(content[: len(content) // 2] if cell == small.cells[-1] else content)
        if cell != small.cells[-2]:
            run.log_file(path, "predictions")
        run.finish("FINISHED")
    tracking.finish("FINISHED")
    yield home


def test_grades_are_those_of_the_metrics_epoch(home: Home, small: Study) -> None:
    """Each run is right about as many images as its accuracy says, by the rule of the metric; damaged ones are out."""
    uri = database_uri(home)
    runs = read_runs(uri, small.name)
    for metric in ("best_acc", "last_acc"):
        grades = PredictionStore(uri, home, small.name).grades(runs, metric)
        assert len(grades) == len(small.cells) - 2
        for run in runs:
            if run.run_id in grades:
                assert grades[run.run_id].correct.mean() == pytest.approx(run.metrics[metric])
                assert grades[run.run_id].index.tolist() == list(range(IMAGES))
    assert PredictionStore(uri, home, small.name).grades(runs, "selected_acc") == {}


def test_a_table_rests_on_them(home: Home) -> None:
    """The leaderboard of a real store compares by seeds and images where both runs have predictions."""
    board = leaderboard_of(database_uri(home), home)
    bases = [score.comparison.basis for row in board.rows for score in row.scores.values() if score.comparison]
    assert bases == ["seeds and images"] * 3 + ["seeds"]


def test_what_was_read_is_not_read_again(home: Home, small: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second comparison asks MLflow for no file but those it could not use, and gives the same."""
    uri = database_uri(home)
    runs = read_runs(uri, small.name)
    first = PredictionStore(uri, home, small.name).grades(runs, "best_acc")
    asked: list[str] = []

    def watched(uri: str, wanted: Any, stored: str) -> dict[str, bytes]:
        asked.extend(run_id for run_id, _ in wanted)
        return files.read_files(uri, wanted, stored)

    monkeypatch.setattr("tracker.compare.predictions.read_files", watched)
    again = PredictionStore(uri, home, small.name).grades(runs, "best_acc")
    assert len(asked) == 2
    assert again.keys() == first.keys()
    assert all(np.array_equal(again[run_id].correct, first[run_id].correct) for run_id in first)


@pytest.mark.parametrize("damage", ["cut", "noise", "other", "gone"])
def test_a_damaged_cache_is_read_anew(home: Home, small: Study, damage: str) -> None:
    """Whatever has become of the kept file, the grades are the same as without it."""
    uri = database_uri(home)
    runs = read_runs(uri, small.name)
    store = PredictionStore(uri, home, small.name)
    wanted = store.grades(runs, "best_acc")
    (kept,) = home.cache.glob("*.npz")
    content = kept.read_bytes()
    if damage == "gone":
        kept.unlink()
    else:
        kept.write_bytes({"cut": content[:100], "noise": b"\0" * 500, "other": archive(table=np.zeros(3))}[damage])
    found = store.grades(runs, "best_acc")
    assert found.keys() == wanted.keys()
    assert kept.read_bytes() == content


def test_a_cache_that_cannot_be_written_is_done_without(home: Home, small: Study, tmp_path: Path) -> None:
    """With a file where the cache's folder should be the grades come from MLflow each time."""
    elsewhere = Home(tmp_path / "home")
    elsewhere.make(elsewhere.root)
    elsewhere.cache.write_text("in the way")
    uri = database_uri(home)
    runs = read_runs(uri, small.name)
    assert len(PredictionStore(uri, elsewhere, small.name).grades(runs, "best_acc")) == len(small.cells) - 2


@given(
    correct=st.lists(st.lists(st.booleans(), min_size=13, max_size=13), min_size=1, max_size=5),
    rules=st.sets(st.sampled_from(sorted(RULES.values())), min_size=1),
)
def test_kept_and_loaded_is_the_same(correct: list[list[bool]], rules: set[str]) -> None:
    """Bits come back as they went, whatever the number of images, runs and rules."""
    from tempfile import TemporaryDirectory

    from tracker.compare.predictions import _load, _save

    index = np.arange(13, dtype=np.int32)
    kept = {f"r{n}@1": {rule: Graded(index, np.array(row)) for rule in sorted(rules)} for n, row in enumerate(correct)}
    with TemporaryDirectory() as folder:
        _save(Path(folder, "kept.npz"), kept)
        loaded = _load(Path(folder, "kept.npz"))
    assert loaded.keys() == kept.keys()
    for key, grades in kept.items():
        assert loaded[key].keys() == grades.keys()
        for rule, graded in grades.items():
            assert np.array_equal(loaded[key][rule].correct, graded.correct)


def bomb() -> bytes:
    """Return a small archive whose arrays would fill the memory."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("index.npy", "w") as member:
        for _ in range(300):
            member.write(bytes(1 << 20))
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an archive",
        predictions(3)[:60],
        archive(index=np.arange(3)),
        predictions(3, best=np.zeros(7, dtype=np.int32)),
        predictions(3, index=np.array([{"a": 1}] * IMAGES, dtype=object)),
        bomb(),
    ],
    ids=["empty", "text", "cut", "incomplete", "lengths", "pickle", "bomb"],
)
def test_what_is_no_predictions_is_left_out(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """An archive that is damaged, hostile or something else is left out with a warning that names the run."""
    assert grade(content, "run-7") is None
    assert "run-7" in caplog.text


def test_a_dead_server_is_an_error(small: Study, tmp_path: Path, make_run: Any) -> None:
    """Predictions that MLflow holds but does not give are not taken for missing."""
    from tracker.study.errors import TrackingError

    run: RunRecord = make_run(small.cells[0], 0.9, artifact_uri="mlflow-artifacts:/1/abc/artifacts")
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9"):
        PredictionStore("http://127.0.0.1:9", Home(tmp_path), "small").grades([run], "best_acc")
