"""What people decide about a study: paused, cancelled, retried; devices set aside; on every database."""

from __future__ import annotations

import pytest
from optuna.trial import TrialState

from tests.ledger.conftest import METRICS, Clock, MakeStudy, claimed, trials_of
from tracker.ledger.ledger import AsideDevice, Ledger, local_url
from tracker.study.errors import LeaseLost, UsageError
from tracker.study.failures import Failure
from tracker.study.home import Home

CRASH = Failure("exception", "ValueError", "no such thing")


def states(ledger: Ledger) -> list[str]:
    """Return the states of the cells, in the order of the grid."""
    return [row.state for row in ledger.rows("small")]


def test_a_study_is_paused_until_it_is_resumed(ledger: Ledger, make_study: MakeStudy) -> None:
    """A pause has a reason, which a second pause does not change, and ends with `resume`."""
    ledger.enroll(make_study())
    assert ledger.pause_reason("small") is None
    assert ledger.counts("small").paused is None
    ledger.pause("small", "by hand")
    ledger.pause("small", "the disk is full")
    assert ledger.pause_reason("small") == "by hand"
    assert ledger.counts("small").paused == "by hand"
    assert [study.paused for study in ledger.studies()] == ["by hand"]
    ledger.resume("small")
    assert ledger.pause_reason("small") is None


def test_only_a_study_that_is_there_can_be_changed(ledger: Ledger, make_study: MakeStudy) -> None:
    """Pausing, resuming or placing another one is an error that names those there are."""
    ledger.enroll(make_study())
    for change in (
        lambda: ledger.pause("smal", "by hand"),
        lambda: ledger.resume("smal"),
        lambda: ledger.set_place("smal", "1", "run"),
    ):
        with pytest.raises(UsageError, match=r"no study smal\n  studies there: small"):
            change()
    assert ledger.pause_reason("smal") is None
    assert ledger.place("smal") is None
    assert ledger.definition("smal") is None


def test_a_study_has_a_place_in_mlflow(ledger: Ledger, make_study: MakeStudy) -> None:
    """The experiment and the run are kept for whoever works on the study."""
    ledger.enroll(make_study())
    assert ledger.place("small") is None
    ledger.set_place("small", "7", "a-run")
    assert ledger.place("small") == ("7", "a-run")


def test_cancelling_closes_what_waits_and_runs(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """Waiting and running cells become PRUNED, and their trials; done and failed ones stay, and a lease is lost."""
    ledger.enroll(make_study())
    done, failed, running = claimed(ledger), claimed(ledger), claimed(ledger)
    ledger.leases.complete(done, METRICS, "run", 1.0)
    ledger.leases.fail(failed, CRASH)
    ledger.leases.set_run(running, "its-run")
    before = ledger.cancel("small")
    assert [(row.cell_id, row.state, row.run_id) for row in before] == [
        (running.cell_id, "RUNNING", "its-run"),
        (ledger.rows("small")[3].cell_id, "WAITING", None),
    ]
    assert states(ledger) == ["COMPLETE", "FAIL", "PRUNED", "PRUNED"]
    trials = trials_of(url)
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "PRUNED", "PRUNED"]
    assert all(trial.datetime_start and trial.datetime_complete for trial in trials)
    with pytest.raises(LeaseLost):
        ledger.leases.renew(running)
    counts = ledger.counts("small")
    assert (counts.cancelled, counts.running, counts.lost, counts.waiting) == (2, 0, 0, 0)
    assert ledger.leases.claim("small", "worker") is None
    assert ledger.leases.next_in("small") is None
    assert ledger.cancel("small") == []
    assert ledger.mend("small") == []


def test_cells_can_be_cancelled_one_by_one(ledger: Ledger, make_study: MakeStudy) -> None:
    """Only the cells named are cancelled, and only where there is something to cancel."""
    study = make_study()
    ledger.enroll(study)
    ledger.leases.complete(claimed(ledger), METRICS, "run", 1.0)
    first, second, *_ = study.cells
    assert [row.cell_id for row in ledger.cancel("small", [first.id, second.id])] == [second.id]
    assert states(ledger) == ["COMPLETE", "PRUNED", "WAITING", "WAITING"]
    assert ledger.cancel("small", []) == []


def test_cancelling_all_reaches_cells_that_left_the_grid(ledger: Ledger, make_study: MakeStudy) -> None:
    """A cell that still runs although it is not of the study any more is stopped too; one that waits there stays."""
    ledger.enroll(make_study(seeds=(1, 2)))
    running = claimed(ledger)
    ledger.enroll(make_study(seeds=(2,)))
    assert running.cell_id in [row.cell_id for row in ledger.cancel("small")]
    outside = {row.cell_id: row.state for row in ledger.rows("small", in_grid=False) if not row.in_grid}
    assert sorted(outside.values()) == ["PRUNED", "WAITING"]
    assert outside[running.cell_id] == "PRUNED"


def test_failed_cells_wait_again_in_a_new_trial(ledger: Ledger, url: str, clock: Clock, make_study: MakeStudy) -> None:
    """`retry` without cells takes all that failed; they go on where they stood, and what failed is shown meanwhile."""
    ledger.enroll(make_study())
    first = claimed(ledger)
    ledger.leases.fail(first, CRASH, "run-1", last_epoch=1)
    ledger.cancel("small", [ledger.rows("small")[1].cell_id])
    (before,) = ledger.retry("small")
    assert (before.cell_id, before.state, before.failures) == (first.cell_id, "FAIL", 1)
    assert states(ledger) == ["WAITING", "PRUNED", "WAITING", "WAITING"]
    row = ledger.rows("small")[0]
    assert (row.failures, row.not_before, row.finished, row.worker) == (0, None, None, None)
    assert (row.failure_kind, row.run_id) == ("ValueError", "run-1")
    assert ledger.retry("small") == []
    second = claimed(ledger)
    assert (second.cell_id, second.attempt, second.token) == (first.cell_id, 2, 2)
    assert (second.run_key, second.last_epoch) == (first.run_key, 1)
    ledger.leases.complete(second, METRICS, "run-1", 1.0)
    of_cell = [trial.state.name for trial in trials_of(url) if trial.user_attrs["cell_id"] == first.cell_id]
    assert of_cell == ["FAIL", "COMPLETE"]
    assert ledger.mend("small") == []


def test_a_cancelled_cell_waits_again_when_it_is_named(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """A cancelled cell gets a new trial; a complete, waiting or running one is left alone."""
    study = make_study()
    ledger.enroll(study)
    ledger.leases.complete(claimed(ledger), METRICS, "run", 1.0)
    claimed(ledger)
    ledger.cancel("small", [study.cells[2].id])
    assert [row.cell_id for row in ledger.retry("small", [cell.id for cell in study.cells])] == [study.cells[2].id]
    assert states(ledger) == ["COMPLETE", "RUNNING", "WAITING", "WAITING"]
    assert [trial.state for trial in trials_of(url)] == [
        TrialState.COMPLETE, TrialState.RUNNING, TrialState.PRUNED, TrialState.WAITING, TrialState.WAITING
    ]  # fmt: skip
    assert ledger.mend("small") == []


def test_a_cell_can_start_anew(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """Anew means from the first epoch, in a new run; any cell can that is not running."""
    study = make_study(seeds=(1, 2, 3))
    ledger.enroll(study)
    done, failed, cancelled, released, running = (claimed(ledger) for _ in range(5))
    ledger.leases.complete(done, METRICS, "run-1", 1.0)
    ledger.leases.fail(failed, CRASH, "run-2", last_epoch=1, micro_batches=4)
    ledger.cancel("small", [cancelled.cell_id])
    ledger.leases.release(released, last_epoch=1)
    before = ledger.retry("small", [cell.id for cell in study.cells], anew=True)
    assert [row.state for row in before] == ["COMPLETE", "FAIL", "PRUNED", "WAITING", "WAITING"]
    rows = {row.cell_id: row for row in ledger.rows("small")}
    assert rows.pop(running.cell_id).run_key == running.run_key
    assert {
        (row.state, row.run_key, row.run_id, row.last_epoch, row.micro_batches, row.metrics, row.failure_kind)
        for row in rows.values()
    } == {("WAITING", None, None, None, 1, None, None)}
    again = claimed(ledger)
    assert (again.cell_id, again.last_epoch, again.micro_batches) == (done.cell_id, None, 1)
    assert again.run_key != done.run_key
    assert again.token > done.token
    trials = [trial for trial in trials_of(url) if trial.user_attrs["cell_id"] == done.cell_id]
    assert [(trial.state.name, trial.value) for trial in trials] == [("COMPLETE", 0.75), ("RUNNING", None)]
    assert ledger.mend("small") == []


def test_cells_are_found_by_id_beginning_and_name(ledger: Ledger, make_study: MakeStudy) -> None:
    """A word names one cell; a cell named twice is found once."""
    study = make_study()
    ledger.enroll(study)
    first, second, *_ = study.cells
    found = ledger.find_cells("small", [second.id, first.id[:4], first.name])
    assert [row.cell_id for row in found] == [second.id, first.id]
    assert ledger.find_cells("small", []) == []


def test_a_word_that_names_no_cell_is_an_error(ledger: Ledger, make_study: MakeStudy) -> None:
    """The error names the word and the nearest cells."""
    study = make_study(seeds=range(200))
    ledger.enroll(study)
    name = study.cells[0].name
    with pytest.raises(UsageError, match="no cell 'resnet18/digits/pretrain/sed=0'") as caught:
        ledger.find_cells("small", [name.replace("seed", "sed")])
    assert f"nearest: {study.cells[0].id} ({name})" in str(caught.value)
    for word in (study.cells[0].id[:3], "%%%%", "", "____"):
        with pytest.raises(UsageError, match=r"there is no cell"):
            ledger.find_cells("small", [word])
    with pytest.raises(UsageError, match=r"there is no cell"):
        ledger.find_cells("no such study", [name])


def test_a_beginning_of_several_ids_is_an_error(ledger: Ledger, make_study: MakeStudy) -> None:
    """The error names all cells that are meant."""
    study = make_study(seeds=range(500))
    ids = [cell.id for cell in study.cells]
    start = next(start for start in (i[:4] for i in ids) if sum(i.startswith(start) for i in ids) == 2)
    ledger.enroll(study)
    with pytest.raises(UsageError, match=f"'{start}' names 2 cells") as caught:
        ledger.find_cells("small", [start])
    assert all(i in str(caught.value) for i in ids if i.startswith(start))


def test_a_run_can_be_noted_later(ledger: Ledger, url: str, make_study: MakeStudy) -> None:
    """A result that reached MLflow after its cell was settled is noted in row and trial, if it is still the cell's."""
    ledger.enroll(make_study())
    claim = claimed(ledger)
    ledger.leases.complete(claim, METRICS, None, 1.0)
    assert trials_of(url)[0].user_attrs["mlflow_run_id"] is None
    assert ledger.note_run("small", claim.cell_id, claim.run_key, "late-run")
    assert ledger.rows("small")[0].run_id == "late-run"
    assert trials_of(url)[0].user_attrs["mlflow_run_id"] == "late-run"
    assert trials_of(url)[0].value == 0.75
    ledger.retry("small", [claim.cell_id], anew=True)
    assert not ledger.note_run("small", claim.cell_id, claim.run_key, "later-run")
    assert ledger.rows("small")[0].run_id is None


def test_devices_are_set_aside_and_taken_back(ledger: Ledger, clock: Clock) -> None:
    """A device is named once, with the latest reason, until it is taken back."""
    ledger.devices.set_aside("node2/cuda:1", "Xid 48")
    ledger.devices.set_aside("node1/cuda:0", "out of order")
    clock.move(5)
    ledger.devices.set_aside("node2/cuda:1", "Xid 79")
    assert ledger.devices.aside() == [
        AsideDevice("node1/cuda:0", "out of order", clock.after(-5)),
        AsideDevice("node2/cuda:1", "Xid 79", clock.moment),
    ]
    assert ledger.devices.take_back("node2/cuda:1")
    assert not ledger.devices.take_back("node2/cuda:1")
    assert [device.place for device in ledger.devices.aside()] == ["node1/cuda:0"]


def test_a_ledger_is_opened_where_storage_says(home: Home, url: str, make_study: MakeStudy) -> None:
    """A URL is opened as it is; without one it is the file in the local folder."""
    with Ledger.open(home, None) as local:
        local.enroll(make_study(name="here"))
        assert str(local) == str(home.trials_db)
    with Ledger.open(home, url) as ledger:
        ledger.enroll(make_study(name="there"))
        names = {study.study for study in ledger.studies()}
    assert names == ({"here", "there"} if url == local_url(home) else {"there"})
