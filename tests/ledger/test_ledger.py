"""The rules of the ledger, on every database it supports."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from tests.ledger.conftest import KINDS, MakeStudy, lacking_for_postgresql, optuna_study, trials_of
from tracker.ledger.ledger import CellRow, Claim, Enrolled, Ledger, StudyCounts
from tracker.study.errors import LeaseLost

METRICS = {"best_acc": 0.75, "last_acc": 0.5, "best_epoch": 1.0}


def claimed(ledger: Ledger, study: str = "small", worker: str = "worker") -> Claim:
    """Claim a cell that must be there."""
    claim = ledger.claim(study, worker)
    assert claim is not None
    return claim


def only(rows: list[CellRow], state: str) -> CellRow:
    """Return the one row in a state."""
    (row,) = [row for row in rows if row.state == state]
    return row


def test_the_rules_hold_on_postgresql_too() -> None:
    """All tests here run on PostgreSQL as well; where it is not to be had, this one says why not."""
    if lacking := lacking_for_postgresql():
        pytest.skip(lacking)
    assert "postgresql" in KINDS


def test_enroll_makes_a_row_and_a_categorical_trial_of_every_cell(
    ledger: Ledger, url: str, make_study: MakeStudy
) -> None:
    """A study becomes one waiting row and one waiting Optuna trial a cell, the axes its categorical parameters."""
    study = make_study(seeds=(1, 2, 3))
    assert ledger.enroll(study) == Enrolled(new=6, kept=0, outside=0)
    rows = ledger.rows("small")
    assert [(row.cell_id, row.name, dict(row.point)) for row in rows] == [
        (cell.id, cell.name, dict(cell.point)) for cell in study.cells
    ]
    assert [list(row.point) for row in rows] == [list(study.axes)] * 6
    assert all(row.identity == cell.identity() for row, cell in zip(rows, study.cells, strict=True))
    with optuna_study(url) as seen:
        assert seen.direction == optuna.study.StudyDirection.MAXIMIZE
        assert seen.user_attrs["question"] == "Which?"
        assert seen.user_attrs["metric"] == "best_acc"
        trials = seen.trials
    assert [trial.params for trial in trials] == [dict(cell.point) for cell in study.cells]
    assert [trial.user_attrs["cell_id"] for trial in trials] == [cell.id for cell in study.cells]
    assert {trial.state for trial in trials} == {TrialState.WAITING}
    assert trials[0].distributions["seed"] == CategoricalDistribution([1, 2, 3])
    assert [row.trial_number for row in rows] == list(range(6))


def test_written_trials_equal_those_of_optunas_own_api(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """A trial written straight into Optuna's tables reads back as one made by `create_trial` and `add_trial`."""
    ledger.enroll(make_study(seeds=(1,)))
    with optuna_study(url) as seen:
        ours = seen.trials[0]
        seen.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING,
                params=ours.params,
                distributions=ours.distributions,
                user_attrs=ours.user_attrs,
            )
        )
        theirs = seen.trials[-1]
    assert theirs.number == 2
    theirs.number, theirs._trial_id = ours.number, ours._trial_id
    assert ours == theirs


def test_enroll_again_changes_nothing(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """Enrolling the same study twice keeps every row and every trial."""
    study = make_study()
    ledger.enroll(study)
    claim = claimed(ledger)
    ledger.complete(claim, METRICS, "run", 1.5)
    rows, trials = ledger.rows("small"), trials_of(url)
    assert ledger.enroll(study) == Enrolled(new=0, kept=4, outside=0)
    assert ledger.rows("small") == rows
    assert trials_of(url) == trials


def test_claims_follow_the_grid_and_end(ledger: Ledger, make_study: MakeStudy) -> None:
    """Cells are handed out in the order of the grid, each once, then none."""
    study = make_study()
    ledger.enroll(study)
    claims = [claimed(ledger) for _ in study.cells]
    assert [claim.cell_id for claim in claims] == [cell.id for cell in study.cells]
    assert ledger.claim("small", "worker") is None
    assert ledger.claim("no such study", "worker") is None


def test_a_worker_can_leave_cells_out(ledger: Ledger, make_study: MakeStudy) -> None:
    """`exclude` skips cells without taking them from others."""
    study = make_study()
    ledger.enroll(study)
    first, second, *_ = study.cells
    other = ledger.claim("small", "worker", exclude=[first.id])
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
    ledger.complete(claimed(ledger), METRICS, "a-run", 2.5)
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
        ledger.complete(claim, metrics, None, 1.0)
    ledger.renew(claim)


def test_a_failed_cell_is_not_done_and_can_be_tried_again(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """A failure is kept with its kind; `retry_failed` lets the cell wait again with a new trial."""
    ledger.enroll(make_study())
    first = claimed(ledger)
    ledger.set_run(first, "run-1")
    ledger.fail(first, "TrainingError", "the loss is not finite")
    row = only(ledger.rows("small"), "FAIL")
    assert (row.failure_kind, row.failure_message, row.run_id) == ("TrainingError", "the loss is not finite", "run-1")
    assert trials_of(url)[0].state == TrialState.FAIL
    assert trials_of(url)[0].user_attrs["failure"] == "TrainingError: the loss is not finite"
    assert [again.cell_id for again in ledger.retry_failed("small")] == [first.cell_id]
    assert ledger.retry_failed("small") == []
    second = claimed(ledger)
    assert (second.cell_id, second.attempt, second.token) == (first.cell_id, 2, 2)
    assert only(ledger.rows("small"), "RUNNING").failure_kind is None
    ledger.complete(second, METRICS, "run-2", 1.0)
    states = [t.state.name for t in trials_of(url) if t.user_attrs["cell_id"] == first.cell_id]
    assert states == ["FAIL", "COMPLETE"]
    assert ledger.mend("small") == []


def test_a_released_cell_waits_again_in_the_same_trial(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """Ctrl-C gives the cell back: nothing stays RUNNING, and the next claim takes it first."""
    ledger.enroll(make_study())
    claim = claimed(ledger)
    ledger.release(claim)
    assert {trial.state for trial in trials_of(url)} == {TrialState.WAITING}
    assert {row.state for row in ledger.rows("small")} == {"WAITING"}
    again = claimed(ledger)
    assert (again.cell_id, again.trial_number, again.attempt) == (claim.cell_id, claim.trial_number, 2)


def test_a_lease_that_ran_out_is_reclaimed(url: str, make_study: MakeStudy) -> None:
    """An expired lease shows as lost, then waits again; one that holds, or was renewed in time, stays."""
    with Ledger(url, lease_seconds=60) as ledger, Ledger(url, lease_seconds=0.2) as hasty:
        ledger.enroll(make_study())
        claimed(ledger, worker="alive")
        assert ledger.reclaim_expired("small") == []
        silent, late = claimed(hasty, worker="silent"), claimed(hasty, worker="late")
        hasty.set_run(silent, "its-run")
        time.sleep(0.3)
        before = ledger.counts("small")
        assert (before.running, before.lost) == (1, 2)
        assert ledger.renew(late) > late.expires
        assert [row.worker for row in ledger.rows("small") if row.expired] == ["silent"]
        (lost,) = ledger.reclaim_expired("small")
        assert (lost.cell_id, lost.worker, lost.run_id) == (silent.cell_id, "silent", "its-run")
        assert [t.state.name for t in trials_of(url)].count("RUNNING") == 2
        after = ledger.counts("small")
        assert (after.running, after.lost, after.waiting) == (2, 0, 2)


def test_a_dead_workers_cells_wait_at_once(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """`reclaim_worker` needs no lease to run out, and takes nothing from the others."""
    ledger.enroll(make_study())
    dead, alive = claimed(ledger, worker="dead"), claimed(ledger, worker="alive")
    assert [row.cell_id for row in ledger.reclaim_worker("small", "dead")] == [dead.cell_id]
    assert [t.state.name for t in trials_of(url)].count("RUNNING") == 1
    ledger.renew(alive)
    with pytest.raises(LeaseLost):
        ledger.renew(dead)


def test_a_worker_thought_dead_can_do_no_harm(url: str, make_study: MakeStudy) -> None:
    """Every write of a claim that was lost raises LeaseLost and changes nothing, before and after the next claim."""
    with Ledger(url, lease_seconds=0.1) as ledger:
        ledger.enroll(make_study())
        old = claimed(ledger, worker="sleeper")
        time.sleep(0.15)
        ledger.reclaim_expired("small")
        writes: list[Callable[[], object]] = [
            lambda: ledger.renew(old),
            lambda: ledger.set_run(old, "old-run"),
            lambda: ledger.complete(old, {"best_acc": 0.1}, "old-run", 1.0),
            lambda: ledger.fail(old, "Error", "late"),
            lambda: ledger.release(old),
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
        after = ledger.rows("small"), trials_of(url)
        assert [replace(row, expired=False) for row in after[0]] == [replace(row, expired=False) for row in before[0]]
        assert after[1] == before[1]
        ledger.complete(new, METRICS, "new-run", 1.0)
        with pytest.raises(LeaseLost):
            ledger.complete(new, METRICS, "new-run", 1.0)


def test_a_study_grows_and_keeps_what_is_done(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """More values on an axis: done cells stay done, only missing ones wait, and Optuna shows the new choices."""
    ledger.enroll(make_study(seeds=(1, 2)))
    done, running, failed = claimed(ledger), claimed(ledger), claimed(ledger)
    ledger.complete(done, METRICS, "run", 2.0)
    ledger.fail(failed, "Error", "no")
    assert ledger.enroll(make_study(seeds=(1, 2, 3), models=("resnet18", "resnet50"))) == Enrolled(8, 4, 0)
    assert ledger.counts("small") == replace(
        ledger.counts("small"), cells=12, waiting=9, running=1, complete=1, failed=1, lost=0
    )
    trials = trials_of(url)
    assert len(trials) == 12
    assert all(t.distributions["seed"] == CategoricalDistribution([1, 2, 3]) for t in trials)
    assert all(t.distributions["model"] == CategoricalDistribution(["resnet18", "resnet50"]) for t in trials)
    (complete,) = [t for t in trials if t.state == TrialState.COMPLETE]
    assert (complete.user_attrs["cell_id"], complete.value) == (done.cell_id, 0.75)
    assert complete.user_attrs["mlflow_run_id"] == "run"
    row = only(ledger.rows("small"), "COMPLETE")
    assert complete.datetime_start is not None and row.started is not None
    assert complete.datetime_start.timestamp() == pytest.approx(row.started.timestamp())
    ledger.complete(running, METRICS, None, 1.0)  # a worker that was at it all the while
    assert [t.state.name for t in trials_of(url)].count("COMPLETE") == 2
    assert ledger.mend("small") == []


def test_a_changed_recipe_never_mixes(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """Another recipe makes other cells; the old ones are kept outside the grid and are never handed out."""
    ledger.enroll(make_study(epochs=2))
    ledger.complete(claimed(ledger), METRICS, "run", 1.0)
    assert ledger.enroll(make_study(epochs=3)) == Enrolled(new=4, kept=0, outside=4)
    assert ledger.counts("small").complete == 0
    assert {t.state for t in trials_of(url)} == {TrialState.WAITING}
    everything = ledger.rows("small", in_grid=False)
    assert [row.in_grid for row in everything] == [True] * 4 + [False] * 4
    assert len({claimed(ledger).cell_id for _ in range(4)}) == 4
    assert ledger.claim("small", "worker") is None
    assert ledger.enroll(make_study(epochs=2)) == Enrolled(new=0, kept=4, outside=4)
    assert ledger.counts("small").complete == 1
    assert [t.state.name for t in trials_of(url)].count("COMPLETE") == 1


def test_points_of_equal_content_are_one_cell(ledger: Ledger, make_study: MakeStudy) -> None:
    """Two points that make the same recipe are enrolled once: `weights` decides nothing without torchvision."""
    study = make_study()
    twins = study.model_copy(update={"axes": {**study.axes, "weights": ("IMAGENET1K_V1", "IMAGENET1K_V2")}})
    assert len(twins.cells) == 8
    assert ledger.enroll(twins) == Enrolled(new=4, kept=0, outside=0)


def test_studies_share_nothing(ledger: Ledger, make_study: MakeStudy) -> None:
    """The same cell in two studies is two rows; the study active last is named first."""
    ledger.enroll(make_study(name="one"))
    ledger.enroll(make_study(name="two"))
    ledger.complete(claimed(ledger, "one"), METRICS, "run", 1.0)
    assert [(s.study, s.cells, s.complete, s.waiting) for s in ledger.studies()] == [
        ("one", 4, 1, 3),
        ("two", 4, 0, 4),
    ]
    assert ledger.counts("three") == StudyCounts("three", 0, 0, 0, 0, 0, 0, None)


def test_mend_brings_optuna_in_line_with_the_table(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """What others did to the Optuna study is undone, each with a sentence; a second look finds nothing."""
    ledger.enroll(make_study())
    claimed(ledger)
    with optuna_study(url) as seen:
        seen.tell(0, state=TrialState.FAIL)  # ours, and closed by somebody else
        seen.ask()  # takes a waiting trial
        seen.enqueue_trial({"seed": 1})  # no cell's
    said = ledger.mend("small")
    assert len(said) == 3
    assert "Optuna's trial 0 was FAIL; now RUNNING" in said[0]
    assert "was RUNNING; now WAITING" in said[1]
    assert "trial 4 was WAITING and is no cell's; now FAIL" in said[2]
    assert ledger.mend("small") == []
    assert sorted(t.state.name for t in trials_of(url)) == ["FAIL", "FAIL", "RUNNING", "WAITING", "WAITING", "WAITING"]


def test_a_deleted_optuna_study_costs_nothing(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """With Optuna's study deleted a worker still completes its cell, and `mend` shows the whole grid again."""
    ledger.enroll(make_study())
    claim = claimed(ledger)
    with optuna_study(url) as seen:
        optuna.delete_study(study_name="small", storage=seen._storage)
    ledger.complete(claim, METRICS, "run", 1.0)
    assert len(ledger.mend("small")) == 4
    assert [t.state.name for t in trials_of(url)] == ["COMPLETE", "WAITING", "WAITING", "WAITING"]
    assert trials_of(url)[0].value == 0.75
