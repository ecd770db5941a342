"""What is logged while the server is dead, and by processes that die, arrives whole when it is back."""

from __future__ import annotations

import os
import signal
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

from tests.tracking.conftest import written
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.tracking.client import connect
from tracker.tracking.delivery import ENDED_TAG
from tracker.tracking.journal import left_journals
from tracker.tracking.replay import replay
from tracker.tracking.run import open_run
from tracker.tracking.server import lifecycle, session
from tracker.tracking.server.record import read_record
from tracker.tracking.writing import StudyTracking


def points(uri: str, run_id: str, metric: str) -> list[tuple[int, float, int]]:
    """Return (step, value, timestamp) as MLflow has them, doubles included."""
    found = connect(uri).get_metric_history(run_id, metric)
    return sorted((point.step, point.value, point.timestamp) for point in found)


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
