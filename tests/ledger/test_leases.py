"""Cells under leases: claimed, held, settled and given back; on every database."""

from __future__ import annotations

import re

import pytest
from optuna.trial import TrialState

from tests.ledger.conftest import METRICS, Clock, MakeStudy, claimed, only, optuna_study, trials_of
from tracker.ledger.ledger import Ledger, Orders


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


def test_stopping_is_no_failure(ledger: Ledger, make_study: MakeStudy) -> None:
    """A cell can be given back any number of times."""
    ledger.enroll(make_study(seeds=(1,), normalizations=("pretrain",)))
    for _ in range(5):
        ledger.leases.release(claimed(ledger))
    (row,) = ledger.rows("small")
    assert (row.state, row.failures, row.attempts) == ("WAITING", 0, 5)


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
