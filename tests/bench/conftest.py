"""What the bench's tests share."""

from __future__ import annotations

from multiprocessing import forkserver

import pytest

from tracker.bench import machine


@pytest.fixture(autouse=True, scope="session")
def _one_fork_server() -> None:
    """Start the fork server as the sweep's tests need it: a process has one, and who starts it says what it imports."""
    from tests.sweep import crew_of_one  # names what is imported  # noqa: F401

    forkserver.ensure_running()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the most that the machine gives be found in a moment, for tests that do not look at it."""
    monkeypatch.setitem(machine.SIDE, "cpu", 32)
    monkeypatch.setitem(machine.COPIED_BYTES, "cpu", 1 << 10)
