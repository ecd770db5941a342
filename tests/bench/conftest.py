"""What the bench's tests share."""

from __future__ import annotations

from multiprocessing import forkserver

import pytest


@pytest.fixture(autouse=True, scope="session")
def _one_fork_server() -> None:
    """Start the fork server as the sweep's tests need it: a process has one, and who starts it says what it imports."""
    from tests.sweep import crew_of_one  # names what is imported  # noqa: F401

    forkserver.ensure_running()
