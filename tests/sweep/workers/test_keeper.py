"""A lease kept alive from a thread of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.prepared_store import with_ledger
from tests.sweep.trials import small_study
from tracker.ledger.ledger import Ledger
from tracker.ledger.rows import Claim
from tracker.study.errors import LeaseLost
from tracker.study.home import Home
from tracker.sweep.workers.keeper import LeaseKeeper

LEASE = 3.0


@pytest.fixture
def ledger(home: Home) -> Iterator[Ledger]:
    """A ledger of short leases with one cell."""
    with Ledger.local(with_ledger(home), lease_seconds=LEASE) as opened:
        opened.enroll(small_study("kept"))
        yield opened


def claim_of(ledger: Ledger) -> Claim:
    """Claim the cell."""
    claim = ledger.leases.claim("kept", "worker")
    assert claim is not None
    return claim


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_blocked_worker_keeps_its_lease(ledger: Ledger) -> None:
    """The main thread does nothing for longer than the lease; nobody else gets the cell."""
    with LeaseKeeper(ledger.leases, claim_of(ledger), LEASE):
        first = ledger.rows("kept")[0].lease_expires
        time.sleep(LEASE * 1.5)
        (row,) = ledger.rows("kept")
        assert not row.expired
        assert first is not None and row.lease_expires is not None and row.lease_expires > first
        assert ledger.leases.claim("kept", "other") is None


def test_the_beat_tells_the_last_durable_epoch(ledger: Ledger) -> None:
    """What `durable` was told stands in the table a beat later."""
    with LeaseKeeper(ledger.leases, claim_of(ledger), LEASE) as lease:
        lease.durable(4)
        assert lease.last_epoch == 4
        wait_for(lambda: ledger.rows("kept")[0].last_epoch == 4)


def test_a_pause_is_heard(ledger: Ledger) -> None:
    """The reason is what the worker says when it gives the cell back."""
    with LeaseKeeper(ledger.leases, claim_of(ledger), LEASE) as lease:
        assert lease.stop is None
        ledger.pause("kept", "by me")
        wait_for(lambda: lease.stop is not None)
        assert lease.stop is not None and "by me" in lease.stop
        assert not lease.lost
        lease.ensure()


def test_a_cancelled_cell_is_lost(ledger: Ledger) -> None:
    """Nothing may be written for it any more."""
    with LeaseKeeper(ledger.leases, claim_of(ledger), LEASE) as lease:
        ledger.cancel("kept")
        wait_for(lambda: lease.lost)
        with pytest.raises(LeaseLost):
            lease.ensure()


def test_a_worker_that_slept_past_its_lease_asks_before_it_writes(home: Home) -> None:
    """Nothing was renewed meanwhile: if the cell is another's, `ensure` says so; if not, it is renewed."""
    short = 1.0  # nothing here has to be in time for it
    with Ledger.local(with_ledger(home), lease_seconds=short) as ledger:
        ledger.enroll(small_study("kept"))
        lease = LeaseKeeper(ledger.leases, claim_of(ledger), short)  # its thread never starts, as in a stopped process
        time.sleep(short)
        lease.ensure()
        assert not ledger.rows("kept")[0].expired
        time.sleep(short)
        assert ledger.leases.claim("kept", "other") is not None
        with pytest.raises(LeaseLost):
            lease.ensure()
