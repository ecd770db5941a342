"""optuna-dashboard on a trial database: found, read, not changed."""

from __future__ import annotations

import http.client
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tracker.ledger.dashboard import Dashboard
from tracker.ledger.ledger import Ledger
from tracker.study.errors import TrackerError, UsageError
from tracker.study.load import parse_study

STUDY = {
    "name": "seen",
    "question": "Can it be seen?",
    "recipe": {"model": "resnet18", "dataset": "digits"},
    "axes": {"normalization": ["pretrain", "minmax"], "seed": [1]},
}


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A SQLite database with a study of two cells."""
    url = f"sqlite:///{tmp_path}/trials.db"
    with Ledger(url) as ledger:
        ledger.enroll(parse_study(STUDY, file="seen.yaml"))
    return url


@contextmanager
def _served(url: str, host: str = "127.0.0.1") -> Iterator[Dashboard]:
    dashboard = Dashboard(url, host)
    thread = threading.Thread(target=dashboard.serve)
    thread.start()
    try:
        yield dashboard
    finally:
        dashboard.stop()
        thread.join()


def _ask(dashboard: Dashboard, method: str, path: str, host: str | None = None) -> tuple[int, Any]:
    place = urlsplit(dashboard.address)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=20)
    connection.request(method, path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, json.loads(body) if "json" in (answer.getheader("Content-Type") or "") else body


def test_the_grid_is_shown(url: str) -> None:
    """Each cell is a trial with its params; the objective has its name; the address is the study's page."""
    with _served(url) as dashboard:
        address = dashboard.study_address("seen")
        assert address == f"{dashboard.address}/dashboard/studies/1"
        assert _ask(dashboard, "GET", urlsplit(address).path)[0] == 200
        status, study = _ask(dashboard, "GET", "/api/studies/1?after=0")
    assert status == 200
    assert study["objective_names"] == ["best_acc"]
    params = [{param["name"]: param["param_external_value"] for param in trial["params"]} for trial in study["trials"]]
    assert [found["normalization"] for found in params] == ["pretrain", "minmax"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/studies/1"),
        ("POST", "/api/studies"),
        ("POST", "/api/studies/1/rename"),
        ("POST", "/api/trials/1/tell"),
        ("PUT", "/api/studies/1/note"),
    ],
)
def test_nothing_can_be_changed(url: str, method: str, path: str) -> None:
    """The ledger would know nothing of it: every request but one for reading is refused, and says why."""
    with _served(url) as dashboard:
        status, answer = _ask(dashboard, method, path)
        assert (status, "not changed" in answer["reason"]) == (405, True)
        assert len(_ask(dashboard, "GET", "/api/studies")[1]["study_summaries"]) == 1


def test_other_names_of_this_machine_are_refused(url: str) -> None:
    """A page elsewhere can let its own name mean 127.0.0.1, and would read along."""
    with _served(url) as dashboard:
        assert _ask(dashboard, "GET", "/api/studies", "evil.example")[0] == 403
        assert _ask(dashboard, "GET", "/api/studies", "evil.example:8080")[0] == 403
        assert _ask(dashboard, "GET", "/api/studies", "localhost:8080")[0] == 200


def test_a_study_that_is_not_there(url: str) -> None:
    """The error names it, and how it begins."""
    with _served(url) as dashboard, pytest.raises(UsageError, match="no study 'missing'"):
        dashboard.study_address("missing")


def test_a_port_that_is_taken(url: str) -> None:
    """The error names address and port."""
    with _served(url) as dashboard:
        port = int(dashboard.address.rpartition(":")[2])
        with pytest.raises(TrackerError, match=rf"127\.0\.0\.1, port {port}"):
            Dashboard(url, port=port)


def test_without_the_extra_it_says_what_to_install(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """optuna-dashboard is an extra; the cure is the command that installs it."""
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(TrackerError, match=r"norm-tracker\[dashboard\]"):
        Dashboard(url)
