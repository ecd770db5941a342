"""Journal first: what was logged is never lost, never doubled, and never in the way of a training."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.tracking.client import connect
from tracker.tracking.delivery import ENDED_TAG
from tracker.tracking.events import Data, Event, File, Finish, Metrics, Open, Tags, from_line, to_line
from tracker.tracking.journal import Journal, held_journals, left_journals
from tracker.tracking.replay import replay
from tracker.tracking.run import open_run
from tracker.tracking.server import lifecycle, session
from tracker.tracking.server.record import read_record
from tracker.tracking.writing import StudyTracking

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


def points(uri: str, run_id: str, metric: str) -> list[tuple[int, float, int]]:
    """Return (step, value, timestamp) as MLflow has them, doubles included."""
    found = connect(uri).get_metric_history(run_id, metric)
    return sorted((point.step, point.value, point.timestamp) for point in found)


def written(folder: Path, metric: str) -> list[tuple[int, float, int]]:
    """Return the same from the one journal in `folder`."""
    (path,) = folder.glob("*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [(e["step"], e["values"][metric], e["time"]) for e in lines if metric in e.get("values", {})]


def log_in_a_process_that_is_killed(home: Home, uri: str, experiment: str, key: str, epochs: int) -> None:
    """Log `epochs` epochs, half a line, and end by SIGKILL, as a power cut would."""
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tracker.study.home import Home\n"
        "from tracker.tracking.run import open_run\n"
        f"home = Home(Path({str(home.root)!r}))\n"
        f"run = open_run({uri!r}, home, {experiment!r}, 'killed', {key!r}, params={{'lr': 0.1}})\n"
        f"for epoch in range({epochs}):\n"
        "    run.log_epoch(epoch, {'loss': 1 / (epoch + 1)})\n"
        f"with open(home.journal / '{key}.jsonl', 'ab') as journal:\n"
        '    journal.write(b\'{"event": "metrics", "ti\')\n'
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


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


@dataclass(frozen=True)
class Outage:
    """What is left after the server was killed while runs were logging, and started again."""

    home: Home
    uri: str
    revived: list[bool]
    same_port: bool
    processes: int
    run_id: str
    journaled: list[tuple[int, float, int]]
    longest: float
    artifact: str
    killed_while_away: str
    offline_home: Home
    offline: list[tuple[int, float, int]]


def run_a_cell_without_a_server(home: Home, uri: str) -> list[tuple[int, float, int]]:
    """Open, log 100 epochs and finish while nothing listens; return (step, value, time) of each."""
    document = {
        "name": "offline",
        "question": "Does it matter?",
        "recipe": {"model": "resnet18", "dataset": "digits"},
        "axes": {"normalization": ["pretrain"], "seed": [1]},
    }
    study = parse_study(document, file="offline.yaml")
    run = StudyTracking(uri, home, study).cell_run(study.cells[0], "offline-1", {"worker": "alone"})
    logged = []
    for epoch in range(100):
        moment = run.log_epoch(epoch, {"loss": 1 / (epoch + 1), "acc": epoch / 100})
        logged.append((epoch, 1 / (epoch + 1), moment))
    run.set_tags({"note": "done"})
    assert run.pending == 102
    assert run.finish("FINISHED") is False
    return logged


@pytest.fixture(scope="module")
def outage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outage]:
    """Three epochs with the server, three after its SIGKILL, four after its restart; another process dies meanwhile.

    The home's path looks as if it were encoded, as paths may.
    """
    home = Home(tmp_path_factory.mktemp("an out%20age") / "mlruns")
    offline_home = Home(home.root.parent / "another")
    first = lifecycle.start(home, lasting=False)
    assert first.uri is not None
    assert first.pid is not None
    run = open_run(first.uri, home, "outage", "survivor", "survivor-1", params={"lr": 0.1})
    longest = 0.0
    kept = home.root / "plot.txt"
    try:
        for epoch in range(10):
            if epoch == 3:
                os.killpg(first.pid, signal.SIGKILL)
                log_in_a_process_that_is_killed(home, first.uri, "outage", "killed-1", epochs=5)
            if epoch == 6:
                offline = run_a_cell_without_a_server(offline_home, first.uri)
                with ThreadPoolExecutor(2) as pool:
                    revived = list(pool.map(lambda _: session.revive(home, run.uri), range(2)))
                record = read_record(home)
                assert record is not None
            started = time.monotonic()
            run.log_epoch(epoch, {"loss": 1 / (epoch + 1), "acc": epoch / 10})
            longest = max(longest, time.monotonic() - started)
            if epoch == 4:
                kept.write_text("drawn while the server was away")
                run.log_file(kept, "figures")
                kept.unlink()
        (home.journal / "killed-1.jsonl").rename(home.root / "killed-1.jsonl")
        journaled = written(home.journal, "loss")
        (home.root / "killed-1.jsonl").rename(home.journal / "killed-1.jsonl")
        assert run.flush(20)
        assert run.finish("FINISHED")
        assert run.run_id is not None
        replayed = replay(home, first.uri)
        assert replayed.delivered == ("killed",)
        assert (replayed.pending, replayed.problems) == ((), ())
        assert list(home.journal.iterdir()) == []
        path = connect(first.uri).download_artifacts(run.run_id, "figures/plot.txt", str(home.make(home.work)))
        found = connect(first.uri).search_runs([run.experiment_id], "tags.`tracker.attempt` = 'killed-1'")
        assert len(found) == 1
        yield Outage(
            home, first.uri, revived, record.uri == first.uri and not record.lasting, len(record.members()),
            run.run_id, journaled, longest, Path(path).read_text(), found[0].info.run_id, offline_home, offline,
        )  # fmt: skip
    finally:
        lifecycle.stop(home)


def test_a_server_that_died_is_brought_back_once_at_its_address(outage: Outage) -> None:
    """Of those who ask for it at once one starts it; clients that outlived it find it, and it ends as it would have."""
    assert outage.revived == [True, True]
    assert outage.same_port
    assert outage.processes == 2


def test_a_run_without_a_server_arrives_whole_in_a_few_calls(outage: Outage, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the server gone from before the run opens until after it ends, every epoch arrives once, time intact."""
    calls = []
    request = requests.Session.request

    def counted(session: requests.Session, method: str, url: str, **rest: Any) -> requests.Response:
        calls.append(url)
        return request(session, method, url, **rest)

    monkeypatch.setattr(requests.Session, "request", counted)
    assert len(left_journals(outage.offline_home)) == 1
    copy = outage.offline_home.journal / "offline-1.jsonl"
    content = copy.read_bytes()
    for _ in range(2):  # a second delivery changes nothing
        copy.write_bytes(content)
        calls.clear()
        replayed = replay(outage.offline_home, outage.uri)
        assert (len(replayed.delivered), replayed.pending, replayed.problems) == (1, (), ())
        assert 0 < len(calls) <= 10
    experiment = connect(outage.uri).get_experiment_by_name("offline")
    (run,) = connect(outage.uri).search_runs([experiment.experiment_id])
    assert points(outage.uri, run.info.run_id, "loss") == outage.offline
    assert len(points(outage.uri, run.info.run_id, "acc")) == 100
    assert (run.info.status, run.data.tags["note"], run.data.params["model"]) == ("FINISHED", "done", "resnet18")
    assert run.data.metrics["acc"] == 0.99


def test_nothing_is_lost_or_doubled_by_the_death_of_the_server(outage: Outage) -> None:
    """Every epoch is in MLflow once, with the value and the time at which it was logged."""
    assert [step for step, _, _ in outage.journaled] == list(range(10))
    assert points(outage.uri, outage.run_id, "loss") == outage.journaled
    assert len(points(outage.uri, outage.run_id, "acc")) == 10
    assert connect(outage.uri).get_run(outage.run_id).info.status == "FINISHED"
    assert outage.longest < 60, "MLflow by itself would have held one epoch up for four minutes"


def test_a_file_logged_while_the_server_was_away_arrives(outage: Outage) -> None:
    """The original may be gone by then."""
    assert outage.artifact == "drawn while the server was away"


def test_a_run_whose_process_was_killed_does_not_stay_running(outage: Outage) -> None:
    """Replay brings all its points, and ends it as KILLED with the reason and the time of its last sign of life."""
    run = connect(outage.uri).get_run(outage.killed_while_away)
    found = points(outage.uri, outage.killed_while_away, "loss")
    assert [(step, value) for step, value, _ in found] == [(e, 1 / (e + 1)) for e in range(5)]
    assert run.info.status == "KILLED"
    assert "killed, out of memory, or power lost" in run.data.tags[ENDED_TAG]
    assert run.info.end_time == found[-1][2]
    assert run.data.params == {"lr": "0.1"}


def test_an_interrupted_attempt_goes_on_as_the_same_run(outage: Outage) -> None:
    """Opening the same key again continues the run: RUNNING again, no reason for its end any more, no second run."""
    client = connect(outage.uri)
    run = open_run(outage.uri, outage.home, "outage", "killed", "killed-1", params={"lr": 0.1})
    assert run.run_id == outage.killed_while_away
    assert client.get_run(run.run_id).info.status == "RUNNING"
    assert ENDED_TAG not in client.get_run(run.run_id).data.tags
    run.log_epoch(5, {"loss": 0.5})
    assert run.finish("FINISHED")
    assert len(points(outage.uri, outage.killed_while_away, "loss")) == 6
