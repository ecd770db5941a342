"""A study followed through the ledger alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tracker.ledger.ledger import Ledger
from tracker.ledger.rows import Claim
from tracker.study.failures import Failure
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.study import Study
from tracker.sweep.events import CellDone, CellFailed, CellReleased, CellStarted
from tracker.sweep.executors.watch import CellEvent, LedgerWatch

METRICS = {"best_acc": 0.75, "last_acc": 0.5}


@pytest.fixture
def study() -> Study:
    """Four cells of two epochs."""
    recipe = {"model": "resnet18", "dataset": "digits", "source": "random", "epochs": 2}
    axes = {"normalization": ["pretrain", "finetune"], "seed": [1, 2]}
    return parse_study({"name": "small", "question": "Which?", "recipe": recipe, "axes": axes}, file="a test")


@pytest.fixture
def ledger(home: Home, study: Study) -> Iterator[Ledger]:
    """A ledger with the study's cells in it."""
    with Ledger.local(home) as opened:
        opened.enroll(study)
        yield opened


@pytest.fixture
def watch(ledger: Ledger, study: Study) -> LedgerWatch:
    """A watch that has not looked yet."""
    return LedgerWatch(ledger, study)


def claimed(ledger: Ledger, worker: str = "worker") -> Claim:
    """Claim a cell that must be there."""
    claim = ledger.leases.claim("small", worker)
    assert claim is not None
    return claim


def kinds(events: list[CellEvent]) -> list[str]:
    """Return what the events are."""
    return [type(event).__name__ for event in events]


def test_a_cell_is_told_from_its_start_to_its_end_and_nothing_twice(ledger: Ledger, watch: LedgerWatch) -> None:
    """A claim is a start, with the cell's epochs; a completion brings the metrics; a second look brings nothing."""
    assert watch.poll() == []
    claim = claimed(ledger)
    assert watch.poll() == [CellStarted("worker", claim.cell_id, claim.name, 2, 1)]
    assert watch.poll() == []
    ledger.leases.renew(claim, last_epoch=0)
    assert watch.poll() == []
    ledger.leases.complete(claim, METRICS, run_id=None, seconds=3.0)
    assert watch.poll() == [CellDone(claim.cell_id, claim.name, METRICS, 3.0)]
    assert watch.poll() == []


def test_the_first_look_tells_of_cells_being_worked_on_and_of_none_that_ended(
    ledger: Ledger, watch: LedgerWatch
) -> None:
    """What was complete before is no news; what runs is shown as running."""
    ledger.leases.complete(claimed(ledger), METRICS, run_id=None, seconds=3.0)
    running = claimed(ledger)
    assert watch.poll() == [CellStarted("worker", running.cell_id, running.name, 2, 1)]


def test_a_cell_that_began_and_ended_between_two_looks_is_told_as_done(ledger: Ledger, watch: LedgerWatch) -> None:
    """Its start is left out, its end is not."""
    watch.poll()
    ledger.leases.complete(claimed(ledger), METRICS, run_id=None, seconds=3.0)
    assert kinds(watch.poll()) == ["CellDone"]


def test_a_failure_for_good_and_one_with_another_attempt_are_told_apart(ledger: Ledger, watch: LedgerWatch) -> None:
    """An exception ends the cell; a lost worker lets it wait, for as long as the policy says."""
    watch.poll()
    ledger.leases.fail(claimed(ledger), Failure("exception", "ValueError", "no"))
    (failed,) = watch.poll()
    assert isinstance(failed, CellFailed)
    assert (failed.failure_class, failed.kind, failed.message, failed.again_in) == (
        "exception", "ValueError", "no", None,
    )  # fmt: skip
    claimed(ledger, "gone")
    assert kinds(watch.poll()) == ["CellStarted"]
    (row,) = ledger.leases.reclaim_worker("small", "gone")
    (lost,) = watch.poll()
    assert isinstance(lost, CellFailed)
    assert lost.failure_class == "lost-worker"
    (now,) = [found for found in ledger.rows("small") if found.cell_id == row.cell_id]
    assert now.not_before is not None
    assert lost.again_in == pytest.approx((now.not_before - now.updated).total_seconds())


def test_a_cell_given_back_and_a_cancelled_one_are_told_as_such(ledger: Ledger, watch: LedgerWatch) -> None:
    """Neither is a failure; whoever had it is named."""
    watch.poll()
    claim = claimed(ledger)
    watch.poll()
    ledger.leases.release(claim)
    assert watch.poll() == [CellReleased(claim.cell_id, claim.name, "by worker worker")]
    again = claimed(ledger)
    assert watch.poll() == [CellStarted("worker", again.cell_id, again.name, 2, 2)]
    ledger.cancel("small", [again.cell_id])
    assert watch.poll() == [CellReleased(again.cell_id, again.name, "cancelled")]


def test_an_attempt_that_replaced_another_between_two_looks_ends_the_one_before_first(
    ledger: Ledger, watch: LedgerWatch
) -> None:
    """A display that keeps a line for each running cell never has two of one cell."""
    claim = claimed(ledger)
    watch.poll()
    ledger.leases.release(claim)
    claimed(ledger, "next")
    assert kinds(watch.poll()) == ["CellReleased", "CellStarted"]


def test_cells_of_workers_that_speak_for_themselves_are_left_to_them(ledger: Ledger, watch: LedgerWatch) -> None:
    """Own workers' cells are not told again, others' are; a lost worker speaks no more, so its cell is told."""
    watch.own.add("mine")
    watch.poll()
    mine, other = claimed(ledger, "mine"), claimed(ledger, "other")
    assert watch.poll() == [CellStarted("other", other.cell_id, other.name, 2, 1)]
    ledger.leases.complete(other, METRICS, run_id=None, seconds=1.0)
    watch.own.remove("mine")
    ledger.leases.reclaim_worker("small", "mine")
    told = {event.cell_id: type(event) for event in watch.poll()}
    assert told == {mine.cell_id: CellFailed, other.cell_id: CellDone}


def test_a_cell_its_own_worker_has_told_of_since_the_last_look_is_left_out(ledger: Ledger, watch: LedgerWatch) -> None:
    """An attempt that began and failed between two looks leaves no worker in the row to know it by."""
    watch.own.add("mine")
    assert watch.others() == []
    claim = claimed(ledger, "mine")
    ledger.leases.fail(claim, Failure("out-of-memory", "MemoryError", "no"))
    watch.told.add(claim.cell_id)
    assert watch.others(at_once=True) == []
    assert watch.told == set()
