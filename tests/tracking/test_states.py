"""Files that another machine needs: stored whole, replaced late, fetched in one piece, their names not trusted."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.tracking.artifacts import FILE_NAME
from tracker.tracking.client import connect
from tracker.tracking.events import Status
from tracker.tracking.run import open_run
from tracker.tracking.server.addresses import database_uri
from tracker.tracking.states import StateExchange, fetch_source
from tracker.tracking.writing import SOURCES

DEAD = "http://127.0.0.1:9"


def make(folder: Path, name: str, content: str) -> Path:
    """Write a file."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(content)
    return folder / name


@pytest.mark.parametrize("way", ["server", "database"])
def test_a_state_goes_from_machine_to_machine(
    home: Home, served_home: Home, uri: str, tmp_path: Path, way: str
) -> None:
    """What was stored is fetched elsewhere; the newer replaces the older; dropped, it is gone."""
    address = uri if way == "server" else database_uri(served_home)
    run = open_run(uri, home, f"states-{way}", "one", f"states-{way}")
    here = StateExchange(address, f"states-{way}", f"states-{way}")
    there = StateExchange(address, f"states-{way}", f"states-{way}")
    assert there.fetch(tmp_path / "there") == []
    best, old = make(tmp_path / "here", "best-1.bin", "best"), make(tmp_path / "here", "state-1.bin", "old")
    new = make(tmp_path / "here", "state-2.bin", "new")
    assert here.store([best, old])
    fetched = there.fetch(tmp_path / "there")
    assert {path.name: path.read_text() for path in fetched} == {"best-1.bin": "best", "state-1.bin": "old"}
    assert here.store([best, new])
    assert {path.name for path in there.fetch(tmp_path / "third")} == {"best-1.bin", "state-2.bin"}
    assert sorted(path.name for path in (tmp_path / "third").iterdir()) == ["best-1.bin", "state-2.bin"]
    assert here.drop()
    assert here.drop()
    assert there.fetch(tmp_path / "fourth") == []
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["best-1.bin", "state-1.bin", "state-2.bin"]
    assert run.finish("FINISHED")


def test_an_older_state_stays_until_the_newer_is_there(
    home: Home, served_home: Home, uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An upload that fails takes nothing away."""
    run = open_run(uri, home, "half", "one", "half-1")
    exchange = StateExchange(uri, "half", "half-1")
    assert exchange.store([make(tmp_path, "old.bin", "old")])
    assert run.run_id is not None
    (folder,) = served_home.artifacts.glob(f"*/{run.run_id}/artifacts/state")
    (folder / "new.bin" / "in the way").mkdir(parents=True)
    assert not exchange.store([make(tmp_path, "new.bin", "new")])
    assert "cannot store the state of half-1" in caplog.text
    assert [path.name for path in exchange.fetch(tmp_path / "there")] == ["old.bin"]
    run.finish("FINISHED")


def test_a_store_that_is_away_or_empty_is_no_error(home: Home, uri: str, tmp_path: Path) -> None:
    """No server, no experiment, no run: nothing is stored, nothing is there, and nobody waits long."""
    file = make(tmp_path, "state.bin", "state")
    started = time.monotonic()
    for exchange, gone in ((StateExchange(DEAD, "x", "x"), False), (StateExchange(uri, "never-made", "x"), True)):
        assert exchange.store([file]) is False
        assert exchange.fetch(tmp_path / "there") == []
        assert exchange.drop() is gone
    assert time.monotonic() - started < 10


def test_names_in_the_store_are_not_trusted(
    home: Home, served_home: Home, uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever else lies among the files, only plain names are fetched."""
    run = open_run(uri, home, "names", "one", "names-1")
    exchange = StateExchange(uri, "names", "names-1")
    assert exchange.store([make(tmp_path, "state.bin", "state")])
    (folder,) = served_home.artifacts.glob(f"*/{run.run_id}/artifacts/state")
    make(folder, ".hidden", "?")
    make(folder, "a b", "?")
    make(folder / "nested", "state.bin", "?")
    assert [path.name for path in exchange.fetch(tmp_path / "there")] == ["state.bin"]
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["state.bin"]
    assert "'.hidden' among the files of run names-1 is no name for a file" in caplog.text
    for name in ("", ".", "..", "../x", "a/b", "a\\b", "/etc/passwd", ".x", "x\n", "x" * 300):
        assert not FILE_NAME.fullmatch(name)
    run.finish("FINISHED")


def test_a_source_is_fetched_from_the_newest_run_that_made_it(home: Home, uri: str, tmp_path: Path) -> None:
    """Only of finished runs, only of this identity; where there is none nothing is written."""
    path = tmp_path / "sources" / "a.safetensors"

    def pretrain(key: str, source_id: str, content: str, status: Status) -> None:
        run = open_run(uri, home, SOURCES, "a source", key, tags={"tracker.source_id": source_id})
        run.log_file(make(tmp_path, "a.safetensors", content), "checkpoint")
        assert run.finish(status)

    assert fetch_source(uri, "abc-1", path) is False
    pretrain("source-1", "abc-1", "failed", "FAILED")
    pretrain("source-2", "abc-2", "another", "FINISHED")
    assert fetch_source(uri, "abc-1", path) is False
    assert not path.exists()
    pretrain("source-3", "abc-1", "older", "FINISHED")
    time.sleep(0.002)  # starts are told apart by the millisecond
    pretrain("source-4", "abc-1", "newer", "FINISHED")
    assert fetch_source(uri, "abc-1", path) is True
    assert path.read_text() == "newer"
    assert [each.name for each in path.parent.iterdir()] == ["a.safetensors"]
    assert connect(uri).get_experiment_by_name(SOURCES) is not None
    with pytest.raises(TrackingError, match="nothing listens there"):
        fetch_source(DEAD, "abc-1", path)
