"""Leases that run out and workers that die: their cells are taken back, and they can do no harm; on every database."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from optuna.trial import TrialState

from tests.ledger.conftest import CRASH, METRICS, POLICY, Clock, MakeStudy, claimed, trials_of
from tracker.ledger.ledger import Ledger
from tracker.study.errors import LeaseLost


def test_a_lease_that_ran_out_is_reclaimed(url: str, clock: Clock, make_study: MakeStudy) -> None:
    """An expired lease shows as lost, then its cell waits again; one that holds, or was renewed in time, stays."""
    with Ledger(url, lease_seconds=60) as ledger, Ledger(url, lease_seconds=5) as hasty:
        ledger.enroll(make_study())
        claimed(ledger, worker="alive")
        assert ledger.leases.reclaim_expired("small") == []
        silent, late = claimed(hasty, worker="silent"), claimed(hasty, worker="late")
        hasty.leases.set_run(silent, "its-run")
        clock.move(6)
        before = ledger.counts("small")
        assert (before.running, before.lost) == (1, 2)
        assert ledger.leases.renew(late).expires > late.expires
        assert [row.worker for row in ledger.rows("small") if row.expired] == ["silent"]
        (lost,) = ledger.leases.reclaim_expired("small")
        assert (lost.cell_id, lost.worker, lost.run_id) == (silent.cell_id, "silent", "its-run")
        assert [t.state.name for t in trials_of(url)].count("RUNNING") == 2
        after = ledger.counts("small")
        assert (after.running, after.lost, after.waiting) == (2, 0, 2)
        row = {row.cell_id: row for row in ledger.rows("small")}[silent.cell_id]
        assert (row.failure_class, row.failure_kind, row.failures) == ("lost-worker", "WorkerLost", 1)
        assert row.failure_message == "worker silent died or fell silent"
        assert row.not_before is not None


def test_a_dead_workers_cells_wait_at_once(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """`reclaim_worker` needs no lease to run out, and takes nothing from the others."""
    ledger.enroll(make_study())
    dead, alive = claimed(ledger, worker="dead"), claimed(ledger, worker="alive")
    assert [row.cell_id for row in ledger.leases.reclaim_worker("small", "dead")] == [dead.cell_id]
    assert [t.state.name for t in trials_of(url)].count("RUNNING") == 1
    ledger.leases.renew(alive)
    with pytest.raises(LeaseLost):
        ledger.leases.renew(dead)


@pytest.mark.parametrize("how", ["worker", "lease", "claim"])
def test_a_cell_that_costs_every_worker_has_failed(url: str, clock: Clock, make_study: MakeStudy, how: str) -> None:
    """A cell is lost with its worker so often only as the policy has it, whoever finds that the worker is gone."""
    with Ledger(url, lease_seconds=60, policy=POLICY) as ledger:
        ledger.enroll(make_study(seeds=(1,), normalizations=("pretrain",)))
        find: dict[str, Callable[[], object]] = {
            "worker": lambda: ledger.leases.reclaim_worker("small", "worker"),
            "lease": lambda: ledger.leases.reclaim_expired("small"),
            "claim": lambda: ledger.leases.claim("small", "worker"),
        }
        for attempt in (1, 2, 3):
            (row,) = ledger.rows("small")
            if row.state != "RUNNING":  # else the claim that found it took it
                claimed(ledger)
            (row,) = ledger.rows("small")
            assert row.attempts == attempt
            clock.move(61)
            find[how]()
            clock.move(20)
        (row,) = ledger.rows("small")
        assert (row.state, row.failure_class, row.failures, row.attempts) == ("FAIL", "lost-worker", 3, 3)
        assert row.failure_message == "worker worker died or fell silent"
        assert [trial.state for trial in trials_of(url)] == [TrialState.FAIL]
        assert ledger.leases.claim("small", "worker") is None
        assert ledger.leases.next_in("small") is None
        assert ledger.mend("small") == []


def test_an_idle_worker_takes_over_what_a_lost_one_left(url: str, clock: Clock, make_study: MakeStudy) -> None:
    """Waiting cells come first; then the first whose lease ran out is taken at once, its run key and epoch kept."""
    with Ledger(url, lease_seconds=60, policy=POLICY) as ledger:
        ledger.enroll(make_study(seeds=(1,)))
        lost = claimed(ledger, worker="lost")
        ledger.leases.renew(lost, last_epoch=7)
        clock.move(61)
        assert claimed(ledger).cell_id != lost.cell_id
        taken = claimed(ledger, worker="successor")
        assert (taken.cell_id, taken.run_key, taken.last_epoch) == (lost.cell_id, lost.run_key, 7)
        assert (taken.token, taken.attempt) == (lost.token + 1, 2)
        row = ledger.rows("small")[0]
        assert (row.worker, row.failures, row.failure_class) == ("successor", 1, "lost-worker")
        with pytest.raises(LeaseLost):
            ledger.leases.renew(lost)
        assert [trial.state for trial in trials_of(url)] == [TrialState.RUNNING] * 2
        assert ledger.mend("small") == []


def test_an_idle_worker_knows_how_long_to_wait(url: str, clock: Clock, make_study: MakeStudy) -> None:
    """`next_in` is 0 while a cell can be had, else the time to the next lease's end; None when nothing is left."""
    with Ledger(url, lease_seconds=60) as ledger:
        study = make_study(seeds=(1,))
        ledger.enroll(study)
        first = claimed(ledger)
        clock.move(10)
        assert ledger.leases.next_in("small") == 0.0
        second = claimed(ledger)
        assert ledger.leases.next_in("small") == 50.0
        assert ledger.leases.next_in("small", exclude=[first.cell_id]) == 60.0
        ledger.leases.complete(first, METRICS, None, 1.0)
        assert ledger.leases.next_in("small") == 60.0
        clock.move(61)
        assert ledger.leases.next_in("small") == 0.0
        ledger.leases.complete(second, METRICS, None, 1.0)
        assert ledger.leases.next_in("small") is None
        assert ledger.leases.next_in("no such study") is None


def test_a_clock_that_jumps_ahead_takes_no_cell_from_a_live_worker(
    ledger: Ledger, clock: Clock, make_study: MakeStudy
) -> None:
    """All leases look run out; a worker that renews before its cell is taken keeps it, a slower one has lost it."""
    ledger.enroll(make_study(seeds=(1,)))
    quick, slow = claimed(ledger, worker="quick"), claimed(ledger, worker="slow")
    clock.move(3600)
    ledger.leases.renew(quick)
    taken = claimed(ledger, worker="idle")
    assert taken.cell_id == slow.cell_id
    assert ledger.leases.claim("small", "idle") is None
    with pytest.raises(LeaseLost):
        ledger.leases.renew(slow)
    ledger.leases.complete(quick, METRICS, None, 1.0)


def test_a_clock_set_back_locks_nobody_out(ledger: Ledger, clock: Clock, make_study: MakeStudy) -> None:
    """A lease that ends later than any could counts as run out, unless it is renewed first."""
    ledger.enroll(make_study(seeds=(1,)))
    quick, dead = claimed(ledger, worker="quick"), claimed(ledger, worker="dead")
    clock.move(-60)
    assert ledger.counts("small").lost == 0  # within what a slow clock explains
    assert ledger.leases.claim("small", "idle") is None
    clock.move(-3600)
    ledger.leases.renew(quick)
    assert [row.worker for row in ledger.rows("small") if row.expired] == ["dead"]
    assert ledger.counts("small").lost == 1
    assert ledger.leases.next_in("small") == 0.0
    assert claimed(ledger, worker="idle").cell_id == dead.cell_id
    ledger.leases.renew(quick)


def test_a_worker_thought_dead_can_do_no_harm(ledger: Ledger, url: str, clock: Clock, make_study: MakeStudy) -> None:
    """Every write of a claim that was lost raises LeaseLost and changes nothing, before and after the next claim."""
    ledger.enroll(make_study())
    old = claimed(ledger, worker="sleeper")
    clock.move(61)
    ledger.leases.reclaim_expired("small")
    clock.move(61)
    writes: list[Callable[[], object]] = [
        lambda: ledger.leases.renew(old, 5),
        lambda: ledger.leases.set_run(old, "old-run"),
        lambda: ledger.leases.complete(old, {"best_acc": 0.1}, "old-run", 1.0),
        lambda: ledger.leases.fail(old, CRASH, "old-run", 5, 2),
        lambda: ledger.leases.release(old, 5),
    ]
    for write in writes:
        with pytest.raises(LeaseLost, match="sleeper does not hold it"):
            write()
    new = claimed(ledger, worker="successor")
    assert (new.cell_id, new.token) == (old.cell_id, old.token + 1)
    before = ledger.rows("small"), trials_of(url)
    for write in writes:
        with pytest.raises(LeaseLost):
            write()
    assert (ledger.rows("small"), trials_of(url)) == before
    ledger.leases.complete(new, METRICS, "new-run", 1.0)
    with pytest.raises(LeaseLost):
        ledger.leases.complete(new, METRICS, "new-run", 1.0)
