"""A cell that fails: closed at once, or tried again later, as its failure's class has it; on every database."""

from __future__ import annotations

from optuna.trial import TrialState

from tests.ledger.conftest import CRASH, METRICS, POLICY, Clock, MakeStudy, claimed, only, trials_of
from tracker.ledger.ledger import Ledger
from tracker.study.failures import Failure

MEMORY = Failure("out-of-memory", "OutOfMemoryError", "tried to allocate 2 GiB")


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
