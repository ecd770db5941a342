"""Journal first: what was logged is never lost, never doubled, and never in the way of a training."""

from __future__ import annotations

import math
import os
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tracking.conftest import written
from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.tracking.client import connect
from tracker.tracking.events import Data, Event, File, Finish, Metrics, Open, Tags, from_line, to_line
from tracker.tracking.journal import Journal, held_journals, left_journals
from tracker.tracking.replay import replay
from tracker.tracking.run import open_run

DEAD = "http://127.0.0.1:9"

texts = st.text(max_size=20)
tags = st.dictionaries(texts, texts, max_size=3)
times = st.integers(0, 2**50)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Open, texts, texts, texts, texts, times, tags, tags, tags, times, st.booleans()),
    st.builds(Metrics, times, times, st.dictionaries(texts, st.floats(allow_nan=False), max_size=3)),
    st.builds(Tags, tags),
    st.builds(Data, texts, texts, texts, texts, texts),
    st.builds(File, texts, texts),
    st.builds(Finish, st.sampled_from(["FINISHED", "FAILED", "KILLED"]), times),
)


@given(events)
def test_a_line_holds_an_event_whole(event: Event) -> None:
    """What is written to the journal is what is read from it."""
    line = to_line(event)
    assert line.count(b"\n") == 1
    assert from_line(line) == event


def test_not_a_number_survives_the_journal() -> None:
    """A loss that diverged is logged as what it is."""
    back = from_line(to_line(Metrics(1, 2, {"a": math.nan, "b": math.inf})))
    assert isinstance(back, Metrics)
    assert math.isnan(back.values["a"])
    assert back.values["b"] == math.inf


@given(st.integers(0, 200))
def test_a_torn_last_line_is_dropped_and_the_rest_kept(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    """Wherever a kill cuts the last line, all lines before it are read, and writing goes on after them."""
    folder = tmp_path_factory.mktemp("torn")
    whole = [Tags({"a": "1"}), Finish("FAILED", 5)]
    torn = to_line(Metrics(1, 2, {"a" * 100: 3.0}))
    path = folder / "run.jsonl"
    path.write_bytes(b"".join(map(to_line, whole)) + torn[: min(cut, len(torn) - 1)])
    journal = Journal.claim(folder, "run")
    assert (journal.events, journal.problems) == (whole, [])
    journal.append(Tags({"b": "2"}), sync=True)
    journal.close()
    again = Journal.claim(folder, "run")
    assert (again.events, again.problems) == ([*whole, Tags({"b": "2"})], [])
    again.remove()
    assert list(folder.iterdir()) == []


def test_a_damaged_line_in_the_middle_is_reported(tmp_path: Path) -> None:
    """Damage that no kill explains is named with file and line, and the other lines count."""
    (tmp_path / "run.jsonl").write_bytes(to_line(Tags({"a": "1"})) + b"\0\0\0\n" + to_line(Tags({"b": "2"})))
    journal = Journal.claim(tmp_path, "run")
    assert journal.events == [Tags({"a": "1"}), Tags({"b": "2"})]
    assert len(journal.problems) == 1
    assert "run.jsonl: line 2 is damaged" in journal.problems[0]
    journal.close()


def test_a_journal_has_one_owner(tmp_path: Path) -> None:
    """A held journal cannot be taken; who claims its name gets a sibling; a closed one is free again."""
    first = Journal.claim(tmp_path, "run")
    assert Journal.take(first.path) is None
    second = Journal.claim(tmp_path, "run")
    assert second.path != first.path
    first.close()
    third = Journal.take(first.path)
    assert third is not None
    third.remove()
    second.remove()
    assert Journal.take(first.path) is None


def test_a_kept_file_is_the_one_that_was_logged(tmp_path: Path) -> None:
    """A file replaced or removed after it was logged is still sent as it was."""
    journal = Journal.claim(tmp_path / ".", "run")
    original = tmp_path / "best.pt"
    original.write_text("first")
    kept = journal.keep(original)
    (tmp_path / "new").write_text("second")
    os.replace(tmp_path / "new", original)
    assert (journal.files / kept).read_text() == "first"
    assert (journal.files / kept).name == "best.pt"
    with pytest.raises(TrackingError, match=r"nothing\.png: cannot be logged"):
        journal.keep(tmp_path / "nothing.png")
    journal.remove()


def test_a_dead_server_costs_a_training_next_to_nothing(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """Fifty epochs without a server: no error, no wait, one warning, and all of it in the journal."""
    started = time.monotonic()
    run = open_run(DEAD, home, "away", "a run", "away-1")
    for epoch in range(50):
        run.log_epoch(epoch, {"loss": 1.0 / (epoch + 1)})
    assert run.flush(0.2) is False
    assert run.finish("FINISHED") is False
    assert time.monotonic() - started < 5
    assert run.run_id is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "nothing listens there" in caplog.text
    assert written(home.journal, "loss") == [(e, 1.0 / (e + 1), t) for e, _, t in written(home.journal, "loss")]
    assert len(written(home.journal, "loss")) == 50


def test_a_hanging_server_is_not_waited_for_again_and_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes connections and says nothing costs one limit, then pauses that grow."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        run = open_run(f"http://127.0.0.1:{silent.getsockname()[1]}", home, "hang", "a run", "hang-1")
        for epoch in range(20):
            run.log_epoch(epoch, {"loss": 1.0})
        assert 1 <= time.monotonic() - started < 2
        assert run.finish("FINISHED") is False
    assert len(written(home.journal, "loss")) == 20


def test_replay_without_a_server_keeps_everything(home: Home) -> None:
    """Journals that cannot be delivered are pending, with the reason, and untouched."""
    open_run(DEAD, home, "away", "one", "away-1").finish("FINISHED")
    open_run(DEAD, home, "away", "two", "away-2").finish("FINISHED")
    before = {path: path.read_bytes() for path in home.journal.iterdir()}
    replayed = replay(home, DEAD)
    assert (replayed.delivered, replayed.problems, len(replayed.pending)) == ((), (), 2)
    assert all("nothing listens there" in pending for pending in replayed.pending)
    assert {path: path.read_bytes() for path in home.journal.iterdir()} == before


def test_a_journal_goes_to_the_store_it_was_written_for(home: Home, uri: str) -> None:
    """Results meant for one MLflow never turn up in another."""
    open_run(DEAD, home, "astray", "one", "astray-1").finish("FINISHED")
    replayed = replay(home, uri)
    assert replayed.delivered == ()
    assert f"belongs to MLflow at {DEAD}" in replayed.pending[0]
    assert connect(uri).get_experiment_by_name("astray") is None


def test_journals_of_living_processes_are_left_alone(home: Home, uri: str) -> None:
    """Replay does not finish a run that someone is still writing, nor report it."""
    run = open_run(uri, home, "living", "one", "living-1")
    assert replay(home, uri) == replay(home, uri)
    assert replay(home, uri).delivered == ()
    assert run.run_id is not None
    assert connect(uri).get_run(run.run_id).info.status == "RUNNING"
    assert run.finish("FINISHED")
    assert list(home.journal.iterdir()) == []


def test_journals_are_told_apart_by_whether_somebody_writes_them(home: Home) -> None:
    """A living process holds its journal; one that is left behind is named with its run; looking changes nothing."""
    assert (held_journals(home), left_journals(home)) == (frozenset(), {})
    open_run(DEAD, home, "away", "left", "left-1").finish("FINISHED")
    living = open_run(DEAD, home, "away", "living", "living-1")
    before = {path: path.read_bytes() for path in home.journal.iterdir()}
    assert held_journals(home) == {"living-1"}
    assert left_journals(home) == {"left": "left-1"}
    assert {path: path.read_bytes() for path in home.journal.iterdir()} == before
    living.log_epoch(0, {"loss": 1.0})
    assert living.pending == 2


def test_what_mlflow_refuses_is_set_aside_and_named(home: Home, uri: str, caplog: pytest.LogCaptureFixture) -> None:
    """A run deleted in the UI while it trains: the training goes on, and its journal is kept under `.refused`."""
    run = open_run(uri, home, "refused", "one", "refused-1")
    assert run.run_id is not None
    connect(uri).delete_run(run.run_id)
    run.log_epoch(0, {"loss": 1.0})
    run.finish("FINISHED")
    assert "refused" in caplog.text
    assert [path.name for path in home.journal.iterdir()] == ["refused-1.refused"]
    assert replay(home, uri).delivered == ()


def test_files_of_delivered_runs_are_cleared_away(home: Home, uri: str) -> None:
    """A kill between removing a journal and its files leaves files that nothing refers to."""
    left = home.make(home.journal / "gone-1.files" / "0")
    (left / "best.pt").write_text("delivered long ago")
    replay(home, uri)
    assert list(home.journal.iterdir()) == []
