"""Strangers' servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.security.stranger import Stranger, stranger


@pytest.fixture
def server() -> Iterator[Stranger]:
    """A server that is asked as if it were MLflow."""
    with stranger() as found:
        yield found


@pytest.fixture
def thief() -> Iterator[Stranger]:
    """Another server, which nobody should ask."""
    with stranger() as found:
        yield found
