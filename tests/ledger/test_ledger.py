"""Grids put into the ledger, on every database it supports."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from tests.ledger.conftest import (
    METRICS,
    MakeStudy,
    claimed,
    only,
    optuna_study,
    statement,
    trials_of,
)
from tracker.ledger.ledger import Enrolled, Ledger, StudyCounts
from tracker.study.errors import RecipeChanged
from tracker.study.failures import Failure


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
    ledger.leases.complete(claim, METRICS, "run", 1.5)
    rows, trials = ledger.rows("small"), trials_of(url)
    assert ledger.enroll(study) == Enrolled(new=0, kept=4, outside=0)
    assert ledger.rows("small") == rows
    assert trials_of(url) == trials


def test_a_study_grows_and_keeps_what_is_done(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """More values on an axis: done cells stay done, only missing ones wait, and Optuna shows the new choices."""
    ledger.enroll(make_study(seeds=(1, 2)))
    done, running, failed = claimed(ledger), claimed(ledger), claimed(ledger)
    ledger.leases.complete(done, METRICS, "run", 2.0)
    ledger.leases.fail(failed, Failure("exception", "Error", "no"))
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
    ledger.leases.complete(running, METRICS, None, 1.0)  # a worker that was at it all the while
    assert [t.state.name for t in trials_of(url)].count("COMPLETE") == 2
    assert ledger.mend("small") == []


def test_a_changed_recipe_never_mixes(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """Another recipe makes other cells; the old ones are kept outside the grid and are never handed out."""
    ledger.enroll(make_study(epochs=2))
    ledger.leases.complete(claimed(ledger), METRICS, "run", 1.0)
    assert ledger.enroll(make_study(epochs=3), replace=True) == Enrolled(new=4, kept=0, outside=4)
    assert ledger.counts("small").complete == 0
    assert {t.state for t in trials_of(url)} == {TrialState.WAITING}
    everything = ledger.rows("small", in_grid=False)
    assert [row.in_grid for row in everything] == [True] * 4 + [False] * 4
    assert len({claimed(ledger).cell_id for _ in range(4)}) == 4
    assert ledger.leases.claim("small", "worker") is None
    assert ledger.enroll(make_study(epochs=2), replace=True) == Enrolled(new=0, kept=4, outside=4)
    assert ledger.counts("small").complete == 1
    assert [t.state.name for t in trials_of(url)].count("COMPLETE") == 1


def test_begun_cells_do_not_get_another_recipe(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """A recipe that changed under begun cells is refused with what changed, and nothing is written."""
    old, new = make_study(epochs=2), make_study(epochs=3)
    ledger.enroll(old)
    claimed(ledger)
    before = ledger.rows("small"), trials_of(url)
    with pytest.raises(RecipeChanged, match=r"recipe\.epochs: 2 -> 3"):
        ledger.enroll(new)
    assert (ledger.rows("small"), trials_of(url)) == before
    assert ledger.definition("small") == old.document()
    ledger.enroll(new, replace=True)
    assert ledger.definition("small") == new.document()


def test_cells_that_nobody_began_may_change(ledger: Ledger, make_study: MakeStudy) -> None:
    """Before the first claim a study can be enrolled with any other recipe."""
    ledger.enroll(make_study(epochs=2))
    assert ledger.enroll(make_study(epochs=3)) == Enrolled(new=4, kept=0, outside=4)


def test_a_smaller_grid_is_no_other_recipe(ledger: Ledger, make_study: MakeStudy) -> None:
    """Begun cells may leave with the values of an axis, without `replace`, and come back as they were."""
    ledger.enroll(make_study(seeds=(1, 2)))
    done = claimed(ledger)
    ledger.leases.complete(done, METRICS, "run", 1.0)
    assert ledger.enroll(make_study(seeds=(2, 3))) == Enrolled(new=2, kept=2, outside=2)
    assert ledger.counts("small").complete == 0
    ledger.enroll(make_study(seeds=(1, 2, 3)))
    assert only(ledger.rows("small"), "COMPLETE").cell_id == done.cell_id


def test_without_a_definition_any_recipe_is_taken(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """A study of an older ledger, which kept no definition, cannot be compared and is enrolled."""
    ledger.enroll(make_study(epochs=2))
    claimed(ledger)
    statement(url, "UPDATE ledger_studies SET document = NULL")
    assert ledger.definition("small") is None
    assert ledger.enroll(make_study(epochs=3)) == Enrolled(new=4, kept=0, outside=4)


def test_enrolling_keeps_what_was_decided(ledger: Ledger, make_study: MakeStudy) -> None:
    """A study that is enrolled again stays paused, and keeps its place in MLflow."""
    ledger.enroll(make_study())
    ledger.pause("small", "by hand")
    ledger.set_place("small", "7", "a-run")
    ledger.enroll(make_study(seeds=(1, 2, 3)))
    assert ledger.pause_reason("small") == "by hand"
    assert ledger.place("small") == ("7", "a-run")


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
    ledger.leases.complete(claimed(ledger, "one"), METRICS, "run", 1.0)
    assert [(s.study, s.cells, s.complete, s.waiting) for s in ledger.studies()] == [
        ("one", 4, 1, 3),
        ("two", 4, 0, 4),
    ]
    assert ledger.counts("three") == StudyCounts("three", 0, 0, 0, 0, 0, 0, 0, None, None)


def test_mend_brings_optuna_in_line_with_the_table(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """What others did to the Optuna study is said, by a dry run too, and undone; a second look finds nothing."""
    ledger.enroll(make_study())
    claimed(ledger)
    with optuna_study(url) as seen:
        seen.tell(0, state=TrialState.FAIL)  # ours, and closed by somebody else
        seen.ask()  # takes a waiting trial
        seen.enqueue_trial({"seed": 1})  # no cell's
    before = trials_of(url)
    said = ledger.mend("small", dry_run=True)
    assert trials_of(url) == before
    assert ledger.mend("small") == said
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
    ledger.leases.complete(claim, METRICS, "run", 1.0)
    assert len(ledger.mend("small")) == 4
    assert [t.state.name for t in trials_of(url)] == ["COMPLETE", "WAITING", "WAITING", "WAITING"]
    assert trials_of(url)[0].value == 0.75
