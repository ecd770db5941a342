"""What a sweep makes of its workers on Ray: on a stand-in for a cluster, with GPUs that fail on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.prepared_store import with_ledger
from tests.sweep.executors.stand_in_cluster import Method, StandIn
from tests.sweep.trials import crew_config
from tracker.ledger.ledger import Ledger
from tracker.study.errors import DeviceError, TrackerError
from tracker.study.failures import Failure, RetryPolicy
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.study import Study
from tracker.sweep.events import CellDone, CellFailed, CellStarted, Event, Notice, WorkerLeft
from tracker.sweep.executors import ray
from tracker.sweep.executors.ray_cluster import Gone
from tracker.sweep.executors.ray_worker import News
from tracker.sweep.options import SweepOptions
from tracker.sweep.summary import Summary
from tracker.sweep.workers.config import WorkerConfig

METRICS = {"best_acc": 0.75, "last_acc": 0.5}
POLICY = RetryPolicy(wait_seconds=0.0)


@pytest.fixture
def study() -> Study:
    """Four cells."""
    recipe = {"model": "resnet18", "dataset": "digits", "source": "random", "epochs": 1}
    axes = {"normalization": ["pretrain", "finetune"], "seed": [1, 2]}
    return parse_study({"name": "small", "question": "Which?", "recipe": recipe, "axes": axes}, file="a test")


@pytest.fixture
def ledger(home: Home, study: Study) -> Iterator[Ledger]:
    """A ledger with the study's cells in it."""
    with Ledger.local(with_ledger(home), policy=POLICY) as opened:
        opened.enroll(study)
        yield opened


@dataclass
class Swept:
    """A sweep over the stand-in, and what it showed."""

    summary: Summary = field(default_factory=Summary)
    shown: list[Event] = field(default_factory=list)

    def notices(self) -> str:
        """Return the sentences."""
        return "\n".join(event.text for event in self.shown if isinstance(event, Notice))


@pytest.fixture
def sweep(home: Home, study: Study, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Swept]:
    """A function that sweeps the study over a stand-in."""

    def run(cluster: StandIn, swept: Swept | None = None, show: Callable[[Event], None] = lambda _: None) -> Swept:
        @contextmanager
        def connected(address: str | None) -> Iterator[Any]:
            yield cluster

        monkeypatch.setattr(ray, "connected", connected)
        monkeypatch.setattr(ray, "require_ray", lambda: None)
        swept = Swept() if swept is None else swept
        options = SweepOptions(device="auto", workers=None, trials_per_device=cluster.per_gpu)
        crew = ray.RayCrew(study, crew_config(study, home), options, ledger)

        def both(event: Event) -> None:
            swept.shown.append(event)
            show(event)

        crew.run(both, swept.summary)
        return swept

    return run


def works_through(ledger: Ledger) -> Callable[[WorkerConfig], News]:
    """Return a worker that completes whatever waits."""

    def work(config: WorkerConfig) -> News:
        events: list[Event] = []
        while (claim := ledger.leases.claim("small", config.name)) is not None:
            ledger.leases.complete(claim, METRICS, run_id=None, seconds=1.0)
            events += [
                CellStarted(config.name, claim.cell_id, claim.name, 1, claim.attempt),
                CellDone(claim.cell_id, claim.name, METRICS, 1.0),
            ]
        return News(events, ended=True, unfit=False, failed=False)

    return work


def leaves(ledger: Ledger, why: Any, failure: Failure) -> Callable[[WorkerConfig], News]:
    """Return a worker that fails with its first cell and leaves its device."""

    def work(config: WorkerConfig) -> News:
        claim = ledger.leases.claim("small", config.name)
        assert claim is not None
        again_in = ledger.leases.fail(claim, failure)
        failed = CellFailed(claim.cell_id, claim.name, failure.failure_class, failure.kind, failure.message, again_in)
        if why == "device":
            ledger.devices.set_aside(config.device_place, failure.message)
        started = CellStarted(config.name, claim.cell_id, claim.name, 1, claim.attempt)
        return News([started, failed, WorkerLeft(config.name, "cuda:0", why)], ended=True, unfit=False, failed=False)

    return work


def states(ledger: Ledger) -> list[str]:
    """Return the states of all cells."""
    return [row.state for row in ledger.rows("small")]


def test_a_sweep_ends_when_nothing_waits(ledger: Ledger, sweep: Callable[..., Swept]) -> None:
    """One worker did it all; its cells are counted and shown once; nothing is left of the workers."""
    cluster = StandIn(works_through(ledger))
    swept = sweep(cluster)
    assert states(ledger) == ["COMPLETE"] * 4
    assert swept.summary.ran == 4
    assert sum(isinstance(event, CellDone) for event in swept.shown) == 4
    assert cluster.alive == {}


def test_a_gpu_that_failed_is_kept_from_others_and_the_rest_go_on(ledger: Ledger, sweep: Callable[..., Swept]) -> None:
    """Its worker holds it, since Ray would put the next one there; the cell goes to another GPU."""
    fails, helps = leaves(ledger, "device", Failure("device", "RuntimeError", "Xid")), works_through(ledger)
    places: list[str] = []

    def work(config: WorkerConfig) -> News:
        places.append(config.device_place)
        return (fails if config.device_place == "host/cuda:0" else helps)(config)

    sweep(StandIn(work, gpus=2))
    assert states(ledger) == ["COMPLETE"] * 4
    assert places.count("host/cuda:0") == 1


def test_with_every_gpu_failed_the_sweep_says_so(ledger: Ledger, sweep: Callable[..., Swept]) -> None:
    """It does not wait for a device that nobody mends; the cells wait for the next sweep."""
    with pytest.raises(DeviceError, match="every device"):
        sweep(StandIn(leaves(ledger, "device", Failure("device", "RuntimeError", "Xid")), gpus=2))
    assert "FAIL" not in states(ledger)


def test_no_cell_is_run_on_a_device_set_aside_before(ledger: Ledger, sweep: Callable[..., Swept]) -> None:
    """The ledger's word counts in every later sweep."""
    ledger.devices.set_aside("host/cuda:0", "Xid")
    places: list[str] = []

    def work(config: WorkerConfig) -> News:
        places.append(config.device_place)
        return works_through(ledger)(config)

    swept = sweep(StandIn(work, gpus=2))
    assert set(places) == {"host/cuda:1"}
    assert "host/cuda:0 is set aside" in swept.notices()


def test_of_workers_that_crowd_a_gpu_the_last_is_told_that_it_is_alone(
    ledger: Ledger, sweep: Callable[..., Swept]
) -> None:
    """One leaves and holds its half; the next does not blame a neighbour it has not."""
    crowded = leaves(ledger, "crowded", Failure("out-of-memory", "OutOfMemoryError", "no"))
    alone: list[bool] = []

    def work(config: WorkerConfig) -> News:
        alone.append(not config.shares_device)
        return (crowded if config.shares_device else works_through(ledger))(config)

    sweep(StandIn(work, per_gpu=2))
    assert states(ledger) == ["COMPLETE"] * 4
    assert alone[-1]
    assert alone.count(False) <= 2


def test_a_lost_worker_gives_its_cell_back_and_is_replaced(ledger: Ledger, sweep: Callable[..., Swept]) -> None:
    """Its lease need not run out; the display is told what became of the cell."""
    died: list[str] = []

    def work(config: WorkerConfig) -> News:
        if died:
            return works_through(ledger)(config)
        claim = ledger.leases.claim("small", config.name)
        assert claim is not None
        died.append(claim.cell_id)
        raise Gone("its machine does not answer")

    swept = sweep(StandIn(work))
    assert states(ledger) == ["COMPLETE"] * 4
    assert "was lost: its machine does not answer" in swept.notices()
    (failed,) = [event for event in swept.shown if isinstance(event, CellFailed)]
    assert (failed.cell_id, failed.failure_class) == (died[0], "lost-worker")


def test_workers_that_die_before_they_take_a_cell_are_not_replaced_for_ever(
    ledger: Ledger, sweep: Callable[..., Swept]
) -> None:
    """A broken installation ends the sweep; the cells wait."""

    def work(config: WorkerConfig) -> News:
        return News([Notice("no")], ended=True, unfit=False, failed=True)

    cluster = StandIn(work)
    sweep(cluster)
    assert cluster.asked == 4
    assert states(ledger) == ["WAITING"] * 4


def test_a_cluster_that_lacks_what_the_cells_need_ends_the_sweep(ledger: Ledger, sweep: Callable[..., Swept]) -> None:
    """A node that cannot run the study is not asked again, and when none is left the sweep says so."""

    def work(config: WorkerConfig) -> News:
        return News([Notice("no data")], ended=True, unfit=True, failed=True)

    with pytest.raises(TrackerError, match="no machine of the cluster"):
        sweep(StandIn(work))
    assert states(ledger) == ["WAITING"] * 4


def test_ctrl_c_asks_workers_to_stop_and_takes_back_what_was_asked_for(
    ledger: Ledger, sweep: Callable[..., Swept]
) -> None:
    """The sweep is over when the last worker has said so; none is left."""

    def work(config: WorkerConfig) -> News:
        return News([Notice("begun")], ended=False, unfit=False, failed=False)

    cluster = StandIn(work, gpus=2)
    swept = Swept()

    def show(event: Event) -> None:
        if swept.shown.count(Notice("begun")) == 1 and event == Notice("begun"):
            for actor in cluster.alive:
                actor.hear = Method(lambda: News([], ended=True, unfit=False, failed=False))
            raise KeyboardInterrupt

    sweep(cluster, swept, show)
    assert swept.summary.interrupted
    assert cluster.alive == {}
    assert states(ledger) == ["WAITING"] * 4
