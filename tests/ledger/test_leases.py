"""Cells under leases: claimed, held, settled, taken back; on every database."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from optuna.trial import TrialState

from tests.ledger.conftest import METRICS, Clock, MakeStudy, claimed, only, optuna_study, trials_of
from tracker.ledger.ledger import Ledger, Orders
from tracker.study.errors import LeaseLost
from tracker.study.failures import Failure, RetryPolicy

CRASH = Failure("exception", "ValueError", "no such thing")
MEMORY = Failure("out-of-memory", "OutOfMemoryError", "tried to allocate 2 GiB")
POLICY = RetryPolicy(max_attempts=3, wait_seconds=10, max_wait_seconds=600)


def test_claims_follow_the_grid_and_end(ledger: Ledger, make_study: MakeStudy) -> None:
    """Cells are handed out in the order of the grid, each once, then none."""
    study = make_study()
    ledger.enroll(study)
    claims = [claimed(ledger) for _ in study.cells]
    assert [claim.cell_id for claim in claims] == [cell.id for cell in study.cells]
    assert ledger.leases.claim("small", "worker") is None
    assert ledger.leases.claim("no such study", "worker") is None


def test_a_worker_can_leave_cells_out(ledger: Ledger, make_study: MakeStudy) -> None:
    """`exclude` skips cells without taking them from others."""
    study = make_study()
    ledger.enroll(study)
    first, second, *_ = study.cells
    other = ledger.leases.claim("small", "worker", exclude=[first.id])
    assert other is not None and other.cell_id == second.id
    assert claimed(ledger).cell_id == first.id


def test_a_claimed_cell_is_running_in_both(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """A claim marks the row with worker, lease, attempt and token, and Optuna's trial as RUNNING."""
    ledger.enroll(make_study())
    claim = claimed(ledger, worker="host-1-0")
    row = ledger.rows("small")[0]
    assert (row.state, row.worker, row.token, row.attempts) == ("RUNNING", "host-1-0", 1, 1)
    assert (claim.token, claim.attempt, claim.trial_number) == (1, 1, row.trial_number)
    assert row.lease_expires == claim.expires
    assert row.started is not None and not row.expired
    trial = trials_of(url)[0]
    assert trial.state == TrialState.RUNNING
    assert trial.datetime_start is not None


def test_complete_closes_row_and_trial(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """A complete cell carries metrics, run and time; the trial's value is `best_acc`."""
    ledger.enroll(make_study())
    ledger.leases.complete(claimed(ledger), METRICS, "a-run", 2.5)
    row = ledger.rows("small")[0]
    assert (row.state, row.metrics, row.run_id, row.seconds) == ("COMPLETE", METRICS, "a-run", 2.5)
    assert row.finished is not None and row.lease_expires is None
    trial = trials_of(url)[0]
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.75)
    assert trial.user_attrs["last_acc"] == 0.5
    assert trial.user_attrs["mlflow_run_id"] == "a-run"
    assert trial.duration is not None
    with optuna_study(url) as seen:
        assert seen.best_value == 0.75


@pytest.mark.parametrize("metrics", [{"last_acc": 0.5}, {"best_acc": float("nan")}, {**METRICS, "x": float("inf")}])
def test_a_result_that_is_no_number_is_not_complete(
    ledger: Ledger, make_study: MakeStudy, metrics: dict[str, float]
) -> None:
    """Metrics without `best_acc`, or not finite, are refused and the cell stays with its worker."""
    ledger.enroll(make_study())
    claim = claimed(ledger)
    with pytest.raises(ValueError, match="best_acc"):
        ledger.leases.complete(claim, metrics, None, 1.0)
    ledger.leases.renew(claim)


def test_a_released_cell_waits_again_in_the_same_trial(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """Ctrl-C gives the cell back: nothing stays RUNNING, and the next claim takes it first."""
    ledger.enroll(make_study())
    claim = claimed(ledger)
    ledger.leases.release(claim)
    assert {trial.state for trial in trials_of(url)} == {TrialState.WAITING}
    assert {row.state for row in ledger.rows("small")} == {"WAITING"}
    again = claimed(ledger)
    assert (again.cell_id, again.trial_number, again.attempt) == (claim.cell_id, claim.trial_number, 2)


def test_a_cell_keeps_its_run_key(ledger: Ledger, make_study: MakeStudy) -> None:
    """The first claim makes the key of the cell's run; every later attempt finds it, with the last durable epoch."""
    study = make_study()
    ledger.enroll(study)
    first, other = claimed(ledger), claimed(ledger)
    assert re.fullmatch(rf"{first.cell_id}-[0-9a-f]{{8}}", first.run_key)
    assert first.run_key[-8:] != other.run_key[-8:]
    assert (first.last_epoch, first.micro_batches) == (None, 1)
    ledger.leases.release(first, last_epoch=4)
    second = claimed(ledger)
    assert (second.run_key, second.last_epoch, second.attempt) == (first.run_key, 4, 2)
    ledger.leases.release(second)
    assert claimed(ledger).last_epoch == 4


def test_a_renewal_notes_the_epoch_and_hears_of_a_pause(ledger: Ledger, clock: Clock, make_study: MakeStudy) -> None:
    """A renewal lets the lease run anew, keeps the last durable epoch, and says why the study is paused."""
    ledger.enroll(make_study())
    claim = claimed(ledger)
    clock.move(20)
    assert ledger.leases.renew(claim, last_epoch=3) == Orders(expires=clock.after(60), paused=None)
    ledger.pause("small", "the disk is full")
    assert ledger.leases.renew(claim).paused == "the disk is full"
    row = only(ledger.rows("small"), "RUNNING")
    assert (row.last_epoch, row.lease_seconds, row.lease_expires) == (3, 60.0, clock.after(60))


def test_a_paused_study_hands_out_nothing(ledger: Ledger, make_study: MakeStudy) -> None:
    """While a study is paused no cell is claimed; those claimed before can be settled; another study goes on."""
    ledger.enroll(make_study())
    ledger.enroll(make_study(name="other"))
    claim = claimed(ledger)
    ledger.pause("small", "by hand")
    assert ledger.leases.claim("small", "worker") is None
    assert ledger.leases.next_in("small") is None
    claimed(ledger, "other")
    ledger.leases.release(claim, last_epoch=0)
    ledger.resume("small")
    assert claimed(ledger).cell_id == claim.cell_id


def test_an_exception_fails_a_cell_at_once(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """A failure of the trial itself closes cell and trial, with its class, kind and message."""
    ledger.enroll(make_study())
    claim = claimed(ledger)
    ledger.leases.set_run(claim, "run-1")
    assert ledger.leases.fail(claim, CRASH, last_epoch=1) is None
    row = only(ledger.rows("small"), "FAIL")
    assert (row.failure_class, row.failure_kind, row.failure_message) == ("exception", "ValueError", "no such thing")
    assert (row.failures, row.run_id, row.last_epoch, row.worker) == (1, "run-1", 1, "worker")
    assert row.finished is not None and row.lease_expires is None
    trial = trials_of(url)[0]
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["failure"] == "ValueError: no such thing"
    assert trial.user_attrs["failure_class"] == "exception"
    assert trial.user_attrs["mlflow_run_id"] == "run-1"


def test_a_failure_of_the_machine_waits_longer_each_time(url: str, clock: Clock, make_study: MakeStudy) -> None:
    """Such a cell waits again, twice as long each time, in the same trial; after its last attempt it has failed."""
    with Ledger(url, policy=POLICY) as ledger:
        ledger.enroll(make_study(seeds=(1,), normalizations=("pretrain",)))
        first = claimed(ledger)
        assert ledger.leases.fail(first, MEMORY, "run", last_epoch=0, micro_batches=2) == 10.0
        assert ledger.leases.claim("small", "worker") is None
        assert ledger.leases.next_in("small") == 10.0
        (row,) = ledger.rows("small")
        assert (row.state, row.worker, row.not_before) == ("WAITING", None, clock.after(10))
        assert (row.failure_class, row.failures, row.run_id) == ("out-of-memory", 1, "run")
        assert trials_of(url)[0].state == TrialState.WAITING
        clock.move(10)
        assert ledger.leases.next_in("small") == 0.0
        second = claimed(ledger)
        assert (second.run_key, second.attempt, second.micro_batches) == (first.run_key, 2, 2)
        row = only(ledger.rows("small"), "RUNNING")
        assert (row.failure_kind, row.failures, row.not_before) == ("OutOfMemoryError", 1, None)
        assert ledger.leases.fail(second, MEMORY) == 20.0
        clock.move(20)
        assert ledger.leases.fail(claimed(ledger), MEMORY) is None
        row = only(ledger.rows("small"), "FAIL")
        assert (row.failures, row.attempts) == (3, 3)
        assert [trial.state for trial in trials_of(url)] == [TrialState.FAIL]


def test_a_cell_that_waits_after_a_failure_holds_up_none(url: str, clock: Clock, make_study: MakeStudy) -> None:
    """The others are claimed meanwhile, and its turn comes before them when its wait is over."""
    with Ledger(url, policy=POLICY) as ledger:
        ledger.enroll(make_study())
        first = claimed(ledger)
        ledger.leases.fail(first, MEMORY)
        assert ledger.leases.next_in("small") == 0.0
        assert claimed(ledger).cell_id != first.cell_id
        clock.move(10)
        assert claimed(ledger).cell_id == first.cell_id


def test_a_complete_cell_forgets_its_failures(ledger: Ledger, clock: Clock, make_study: MakeStudy) -> None:
    """What failed before is shown until the cell completes."""
    ledger.enroll(make_study())
    ledger.leases.fail(claimed(ledger), MEMORY)
    clock.move(600)
    ledger.leases.complete(claimed(ledger), METRICS, "run", 1.0)
    row = only(ledger.rows("small"), "COMPLETE")
    assert (row.failure_class, row.failure_kind, row.failure_message) == (None, None, None)


def test_stopping_is_no_failure(ledger: Ledger, make_study: MakeStudy) -> None:
    """A cell can be given back any number of times."""
    ledger.enroll(make_study(seeds=(1,), normalizations=("pretrain",)))
    for _ in range(5):
        ledger.leases.release(claimed(ledger))
    (row,) = ledger.rows("small")
    assert (row.state, row.failures, row.attempts) == ("WAITING", 0, 5)


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


def test_a_settled_trial_equals_one_told_by_optuna(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """What a completed cell writes into Optuna's tables reads back as after Optuna's own `tell`."""
    ledger.enroll(make_study())
    ledger.leases.complete(claimed(ledger), METRICS, "run", 1.0)
    with optuna_study(url) as seen:
        theirs = seen.ask()
        seen.tell(theirs, METRICS["best_acc"])
        ours, told = seen.trials[0], seen.trials[theirs.number]
    assert told.number == 1
    told.number, told._trial_id = ours.number, ours._trial_id
    told.params, told.distributions = ours.params, ours.distributions
    ours.user_attrs = told.user_attrs
    assert ours.datetime_start is not None and ours.datetime_complete is not None
    assert told.datetime_start is not None and told.datetime_complete is not None
    assert abs((told.datetime_start - ours.datetime_start).total_seconds()) < 60
    assert abs((told.datetime_complete - ours.datetime_complete).total_seconds()) < 60
    told.datetime_start, told.datetime_complete = ours.datetime_start, ours.datetime_complete
    assert ours == told
