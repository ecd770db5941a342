"""Exports in MLflow's registry: one version for equal content, an alias that moves, files that come back whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracker.study.errors import TrackingError, UsageError
from tracker.study.home import Home
from tracker.tracking.client import connect
from tracker.tracking.files import fetch_stored, stored_files
from tracker.tracking.reading import dataset_profile
from tracker.tracking.registry import (
    CELL_TAG,
    CHAMPION,
    Registration,
    fetch_registered,
    register,
)
from tracker.tracking.run import TrackedRun, open_run
from tracker.tracking.server.addresses import database_uri


@pytest.fixture
def run(uri: str, home: Home, request: pytest.FixtureRequest) -> TrackedRun:
    """A finished run with a file and a dataset."""
    name = request.node.name.replace("[", "-").replace("]", "")
    found = open_run(uri, home, name, "one", name)
    found.log_dataset("five", "0123456789abcdef", "train", {"channels": 1, "image_size": 8})
    home.root.mkdir(exist_ok=True)
    (home.root / "best.safetensors").write_bytes(b"weights")
    found.log_file(home.root / "best.safetensors", "checkpoint")
    assert found.finish("FINISHED")
    return found


def add(uri: str, name: str, folder: Path, run: TrackedRun, content: str, cell: str = "aaaa one") -> Registration:
    """Register a folder that holds two files."""
    (folder / "artifacts").mkdir(parents=True, exist_ok=True)
    (folder / "MLmodel").write_text(f"content: {content}\n")
    (folder / "artifacts" / "model.pt2").write_bytes(content.encode())
    assert run.run_id is not None
    return register(uri, name, folder, run.run_id, content, {CELL_TAG: cell}, "a description")


def test_versions_follow_content_and_champion_the_last_export(uri: str, run: TrackedRun, tmp_path: Path) -> None:
    """Equal content is one version; another moves `champion` and says what it was; the first again moves it back."""
    name = "versions"
    first = add(uri, name, tmp_path / "a", run, "one")
    assert (first.version, first.is_new, first.previous) == ("1", True, None)
    assert first.uri == "models:/versions@champion"
    again = add(uri, name, tmp_path / "b", run, "one")
    assert (again.version, again.is_new, again.previous) == ("1", False, None)
    other = add(uri, name, tmp_path / "c", run, "two", "bbbb two")
    assert (other.version, other.is_new, other.previous) == ("2", True, "version 1 (aaaa one)")
    back = add(uri, name, tmp_path / "d", run, "one")
    assert (back.version, back.is_new, back.previous) == ("1", False, "version 2 (bbbb two)")
    client = connect(uri)
    assert len(client.search_model_versions("name='versions'")) == 2
    version = client.get_model_version_by_alias(name, CHAMPION)
    assert (str(version.version), version.run_id, version.description) == ("1", run.run_id, "a description")
    assert client.get_run(version.run_id).info.status == "FINISHED", "the run is left as it ended"


@pytest.mark.parametrize("way", ["server", "database"])
def test_what_was_registered_comes_back(way: str, uri: str, served_home: Home, run: TrackedRun, tmp_path: Path) -> None:
    """By alias and by version, through the server and from its file: the same bytes in the same folders."""
    name = f"back-{way}"
    add(uri, name, tmp_path / "there", run, "bytes")
    address = uri if way == "server" else database_uri(served_home)
    for number, where in enumerate((f"models:/{name}@champion", f"models:/{name}/1")):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert fetch_registered(address, where, folder) == f"{name} version 1"
        assert (folder / "artifacts" / "model.pt2").read_bytes() == b"bytes"
        assert (folder / "MLmodel").is_file()


def test_no_such_model(uri: str, run: TrackedRun, tmp_path: Path) -> None:
    """An unknown name, alias or version is told with those there are; another form is wrong usage."""
    add(uri, "known", tmp_path / "a", run, "x")
    for where in ("models:/nosuch@champion", "models:/known@loser", "models:/known/7", "models:/nosuch/1"):
        with pytest.raises(TrackingError, match=f"has no {where}") as caught:
            fetch_registered(uri, where, tmp_path)
        assert "known" in str(caught.value)
    for where in ("models:/known", "models:known@champion", "models:/known@champion/1", "models:/../x@y"):
        with pytest.raises(UsageError, match="names no registered model"):
            fetch_registered(uri, where, tmp_path)


def test_files_and_dataset_of_a_run(uri: str, run: TrackedRun, tmp_path: Path) -> None:
    """What a run stored is listed and fetched; what it did not is a TrackingError, and no dataset is {}."""
    assert run.run_id is not None
    artifact_uri = connect(uri).get_run(run.run_id).info.artifact_uri
    assert stored_files(uri, artifact_uri, "checkpoint") == ["best.safetensors"]
    assert stored_files(uri, artifact_uri, "nowhere") == []
    fetch_stored(uri, artifact_uri, "checkpoint/best.safetensors", tmp_path / "here")
    assert (tmp_path / "here").read_bytes() == b"weights"
    with pytest.raises(TrackingError):
        fetch_stored(uri, artifact_uri, "checkpoint/last.safetensors", tmp_path / "there")
    assert not (tmp_path / "there").exists()
    assert dataset_profile(uri, run.run_id)["channels"] == 1
    bare = open_run(uri, Home(tmp_path / "bare"), "bare", "bare", "bare-run")
    assert bare.finish("FINISHED")
    assert bare.run_id is not None
    assert dataset_profile(uri, bare.run_id) == {}


def test_a_server_that_is_gone(tmp_path: Path) -> None:
    """It is named, within seconds."""
    with pytest.raises(TrackingError, match="nothing listens there"):
        fetch_registered("http://127.0.0.1:9", "models:/a@champion", tmp_path)
    with pytest.raises(TrackingError, match="nothing listens there"):
        register("http://127.0.0.1:9", "a", tmp_path, "run", "x", {}, "")
