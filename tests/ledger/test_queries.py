"""How the database finds a cell to hand out, whatever the size of the grid; on every database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, insert

from tests.ledger.conftest import Clock, MakeStudy, claimed, statement
from tracker.ledger.ledger import Ledger
from tracker.ledger.tables import cells

CELLS = 5000


@contextmanager
def heard() -> Iterator[list[tuple[str, Any]]]:
    """Listen to every query about cells, with its parameters."""
    queries: list[tuple[str, Any]] = []

    def listen(_connection: Any, _cursor: Any, sql: str, parameters: Any, *_: Any) -> None:
        if sql.startswith("SELECT") and "FROM cells" in sql:
            queries.append((sql, parameters))

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        yield queries
    finally:
        event.remove(Engine, "before_cursor_execute", listen)


def plans(url: str, queries: list[tuple[str, Any]]) -> list[str]:
    """Return how the database would answer each query."""
    explain = "EXPLAIN QUERY PLAN" if url.startswith("sqlite") else "EXPLAIN"
    engine = create_engine(url)
    with engine.connect() as connection:
        found = [connection.exec_driver_sql(f"{explain} {sql}", parameters).all() for sql, parameters in queries]
    engine.dispose()
    return ["\n".join(str(row[-1]) for row in rows) for rows in found]


@pytest.fixture
def large(ledger: Ledger, url: str, clock: Clock, make_study: MakeStudy) -> Ledger:
    """A ledger with many complete cells, one that runs, one that waits after a failure, and none to be had."""
    ledger.enroll(make_study(seeds=(1,)))
    for _ in range(2):
        claimed(ledger)
    rows = [
        {
            "study": "small",
            "cell_id": f"{number:012x}",
            "name": "n",
            "point": {},
            "identity": {},
            "position": number,
            "in_grid": True,
            "state": "WAITING" if number == CELLS else "COMPLETE",
            "created": clock.moment,
            "updated": clock.moment,
            "not_before": clock.moment + timedelta(days=1),
        }
        for number in range(2, CELLS + 1)
    ]
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(insert(cells), rows)
    engine.dispose()
    statement(url, "ANALYZE")
    return ledger


def test_a_claim_looks_at_no_cell_that_is_done(large: Ledger, url: str, clock: Clock) -> None:
    """Waiting cells, those whose lease ran out, and the time until there is one are found through the queue's index."""
    with heard() as queries:
        assert large.leases.claim("small", "worker") is None
        assert large.leases.next_in("small") == 60.0
        clock.move(61)
        claimed(large)
    assert len(queries) >= 6
    for (sql, _), plan in zip(queries, plans(url, queries), strict=True):
        assert "cells_queue" in plan, f"{sql}\n{plan}"
        assert "SCAN" not in plan and "Seq Scan" not in plan, f"{sql}\n{plan}"


def test_a_claim_needs_no_sorting(large: Ledger, url: str) -> None:
    """The first waiting cell of the grid is the first in the index."""
    with heard() as queries:
        large.leases.claim("small", "worker")
    first, *_ = plans(url, queries)
    assert "TEMP B-TREE" not in first and "Sort" not in first, first
