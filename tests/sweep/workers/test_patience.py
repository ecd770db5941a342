"""A database that is locked or away is asked again."""

from __future__ import annotations

import threading

import pytest

from tracker.study.errors import LeaseLost, LedgerError
from tracker.sweep.workers import patience
from tracker.sweep.workers.patience import Patience


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that passes only while somebody sleeps; the sleeps."""
    slept: list[float] = []
    monkeypatch.setattr(patience.time, "sleep", slept.append)
    monkeypatch.setattr(patience.time, "monotonic", lambda: sum(slept))
    return slept


def test_it_asks_until_there_is_an_answer(clock: list[float]) -> None:
    """Longer and longer pauses, one sentence."""
    told: list[str] = []
    failures = iter([LedgerError("locked")] * 7)

    def ask() -> str:
        for failure in failures:
            raise failure
        return "answer"

    assert Patience(threading.Event(), told.append)(ask) == "answer"
    assert clock == [1, 2, 4, 8, 16, 30, 30]
    assert told == ["waiting for the trial database: locked"]


def test_it_gives_up_in_the_end(clock: list[float]) -> None:
    """A database that is gone for good ends the worker."""

    def ask() -> None:
        raise LedgerError("gone")

    with pytest.raises(LedgerError, match="gone"):
        Patience(threading.Event(), lambda text: None)(ask)
    assert patience.PATIENCE_SECONDS - patience.MAX_PAUSE_SECONDS <= sum(clock) <= patience.PATIENCE_SECONDS


def test_a_worker_that_should_end_does_not_wait_long(clock: list[float]) -> None:
    """But it does not give up at the first try either: its cell should be given back."""
    stop = threading.Event()
    stop.set()

    def ask() -> None:
        raise LedgerError("locked")

    with pytest.raises(LedgerError):
        Patience(stop, lambda text: None)(ask)
    assert 1 < sum(clock) <= patience.LAST_SECONDS


def test_a_lost_lease_is_an_answer(clock: list[float]) -> None:
    """It is not asked for again."""

    def ask() -> None:
        raise LeaseLost("not yours")

    with pytest.raises(LeaseLost):
        Patience(threading.Event(), lambda text: None)(ask)
    assert clock == []
