"""Which MLflow is written to and read from, and what is said of an address that is none."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.tracking.server import addresses, session
from tracker.tracking.server.record import Record, write_record


@pytest.mark.parametrize(
    ("address", "words"),
    [("http://127.0.0.1:9", "nothing listens there"), ("http://nowhere.invalid", "host name is not known")],
)
def test_an_unreachable_address_is_named_fast(
    home: Home, monkeypatch: pytest.MonkeyPatch, address: str, words: str
) -> None:
    """MLFLOW_TRACKING_URI that does not answer: an error in seconds, with the address and the variable."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    started = time.monotonic()
    for use in (lambda: session.tracking_session(home).__enter__(), lambda: addresses.reading_uri(home)):
        with pytest.raises(TrackingError, match=words) as caught:
            use()
        assert address in str(caught.value)
        assert "MLFLOW_TRACKING_URI" in str(caught.value)
    assert time.monotonic() - started < 10


def test_a_given_address_is_used(home: Home, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLFLOW_TRACKING_URI comes before the local server, for writing and for reading."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with session.tracking_session(home) as found:
        assert found == uri
    assert addresses.reading_uri(home) == uri
    assert not home.server.exists(), "no local server was thought of"


def test_reading_where_nothing_was_run_says_what_to_run(home: Home) -> None:
    """An empty home is an error with a cure, not an empty table."""
    with pytest.raises(TrackingError, match="nothing has been run here yet") as caught:
        addresses.reading_uri(home)
    assert caught.value.cure == "tracker sweep --study quickstart"


@pytest.mark.parametrize("content", [b"", b"this is no database"])
def test_reading_a_file_that_is_no_database_fails_at_once(home: Home, content: bytes) -> None:
    """MLflow would try for minutes to open it."""
    home.make(home.root)
    home.tracking_db.write_bytes(content)
    with pytest.raises(TrackingError, match="is not a SQLite database"):
        addresses.reading_uri(home)


def test_an_address_without_a_scheme_is_refused(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow would take it for a folder, and make that."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "localhost-5000")
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_URI=localhost-5000 is not an address"):
        addresses.reading_uri(home)
    assert list(tmp_path.iterdir()) == []


def test_the_local_store_keeps_its_name_whatever_its_port(home: Home) -> None:
    """A journal written for the local server is delivered to it after a restart on another port."""
    assert addresses.store_name(home, addresses.database_uri(home)) == "local"
    assert addresses.store_name(home, "http://elsewhere:5000") == "http://elsewhere:5000"
    write_record(home, Record(pid=2**22 + 1, created=1.0, port=5123, version="3", lasting=True))
    assert addresses.store_name(home, "http://127.0.0.1:5123") == "local"
