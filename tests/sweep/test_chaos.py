"""Four workers on one study, SIGKILLed again and again at random moments: every cell is complete exactly once.

The workers, the databases and the MLflow server are real; only the training is trivial.
"""

from __future__ import annotations

import math
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from multiprocessing.process import BaseProcess

import numpy as np
import pytest

from tests.ledger.conftest import KINDS, trials_of
from tests.sweep.crew_of_one import CONTEXT
from tests.sweep.trials import SETTINGS, Bench, bench_beside, small_study
from tests.sweep.trivial import value_of, work_trivially
from tracker.ledger.ledger import Ledger, local_url
from tracker.study.failures import RetryPolicy
from tracker.study.home import Home
from tracker.study.study import Study
from tracker.sweep.reconcile import reconcile
from tracker.tracking.ending import runs_by_key
from tracker.tracking.reading import read_runs

WORKERS = 4
POLICY = RetryPolicy(max_attempts=1000, wait_seconds=0.0)
CHAOS = replace(SETTINGS, lease_seconds=2.0, policy=POLICY)
IDLE_SECONDS = 60.0
"""How long a worker waits for others' leases to run out."""

MAX_CELLS = 8
"""Between two kills at most so many cells are completed, so there is progress on a machine of any speed."""

MAX_SECONDS = 0.1
"""Then a random part of this passes, so that the kill falls anywhere in a cell's life."""

ROUND_SECONDS = 240
"""A round that takes longer hangs."""


@dataclass
class Crew:
    """Worker processes, of which some are killed and replaced."""

    bench: Bench
    study: Study
    url: str
    chance: np.random.Generator
    alive: list[BaseProcess] = field(default_factory=list)
    kills: int = 0
    _names: Iterator[int] = field(default_factory=count)

    def fill(self) -> None:
        """Start workers until there are as many as there should be."""
        while len(self.alive) < WORKERS:
            config = self.bench.config(
                self.study, f"worker-{next(self._names)}",
                ledger_url=self.url, settings=CHAOS, max_idle=IDLE_SECONDS,
            )  # fmt: skip
            process = CONTEXT.Process(target=work_trivially, args=(config,), name=config.name, daemon=True)
            process.start()
            self.alive.append(process)

    def kill_one(self, ledger: Ledger) -> None:
        """SIGKILL any worker; of half of them the death is known at once, of the others the lease has to run out."""
        victim = self.alive.pop(int(self.chance.integers(len(self.alive))))
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        victim.join(30)
        if victim.exitcode == -signal.SIGKILL:
            self.kills += 1
        else:
            assert victim.exitcode == 0, f"{victim.name} ended by itself with {victim.exitcode}"
        if self.chance.random() < 0.5:
            ledger.leases.reclaim_worker(self.study.name, victim.name)

    def drain(self, ledger: Ledger) -> None:
        """Kill and replace workers until no cell is left, then let the last ones end."""
        self.fill()
        deadline = time.monotonic() + ROUND_SECONDS
        done, due = 0, 0
        while done < len(self.study.cells):
            if done >= due:
                time.sleep(self.chance.uniform(0, MAX_SECONDS))
                self.kill_one(ledger)
                self.fill()
                due = done + int(self.chance.integers(MAX_CELLS + 1))
            time.sleep(0.02)
            done = ledger.counts(self.study.name).complete
            assert time.monotonic() < deadline, f"{self.study.name} hangs: {ledger.counts(self.study.name)}"
        for process in self.alive:
            process.join(30)
        assert [process.exitcode for process in self.alive] == [0] * WORKERS

    def end(self) -> None:
        """Leave no process behind."""
        for process in self.alive:
            process.kill()
            process.join(30)


@pytest.fixture(scope="module")
def bench(served_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """One home for all tests of the file."""
    return bench_beside(served_home, Home(tmp_path_factory.mktemp("chaos") / "mlruns"))


def check(bench: Bench, study: Study, ledger: Ledger, url: str) -> None:
    """See that table, Optuna, MLflow and disk all have every cell, complete, once."""
    cell_ids = {cell.id for cell in study.cells}
    once = dict.fromkeys(cell_ids, 1)

    rows = ledger.rows(study.name)
    assert Counter(row.cell_id for row in rows) == once
    assert {row.state for row in rows} == {"COMPLETE"}
    assert {row.cell_id: (row.metrics or {})["best_acc"] for row in rows} == {i: value_of(i) for i in cell_ids}

    trials = trials_of(url, study.name)
    assert Counter(trial.user_attrs["cell_id"] for trial in trials) == once
    assert {trial.state.name for trial in trials} == {"COMPLETE"}
    assert all(math.isclose(trial.value or 0, value_of(trial.user_attrs["cell_id"])) for trial in trials)

    runs = read_runs(bench.uri, study.name)
    finished = [run for run in runs if run.status == "FINISHED"]
    assert Counter(run.cell_id for run in finished) == once
    assert not [run.name for run in runs if run.status == "RUNNING"]
    assert {row.run_id for row in rows} == {run.run_id for run in finished}
    expected = {run.run_id: [(0, value_of(run.cell_id))] for run in finished}
    assert {run.run_id: bench.points(run.run_id, "test_acc") for run in finished} == expected
    assert {run.run_id for run in runs_by_key(bench.uri, study.name).values()} >= expected.keys()

    assert bench.scratch() == []


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.soak] if kind == "postgresql" else []) for kind in KINDS]
)
@pytest.mark.parametrize(
    ("rounds", "cells"),
    [
        pytest.param(1, 40, id="short"),
        pytest.param(20, 200, id="full", marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)
def test_every_cell_is_complete_exactly_once_however_many_workers_are_killed(
    kind: str,
    rounds: int,
    cells: int,
    bench: Bench,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No cell is lost and none doubled: one row, one trial, one finished run with one result, nothing left over."""
    url = request.getfixturevalue("empty_postgresql") if kind == "postgresql" else local_url(bench.home)
    started, kills, again = time.monotonic(), 0, 0
    with Ledger(url, policy=POLICY) as ledger:
        for number in range(rounds):
            study = small_study(f"chaos-{kind}-{cells}-{number}", epochs=1, seeds=tuple(range(cells)))
            ledger.enroll(study)
            crew = Crew(bench, study, url, np.random.default_rng([rounds, cells, number]))
            try:
                crew.drain(ledger)
            finally:
                crew.end()
            said = reconcile(study.name, ledger, bench.home, bench.uri)
            assert reconcile(study.name, ledger, bench.home, bench.uri) == [], said
            check(bench, study, ledger, url)
            kills += crew.kills
            again += sum(row.attempts - 1 for row in ledger.rows(study.name))
    with capsys.disabled():
        print(
            f"\nchaos on {kind}: {rounds} rounds of {cells} cells, {WORKERS} workers, {kills} kills, "
            f"{again} of them in the middle of a cell, {time.monotonic() - started:.0f} s"
        )
    assert kills > 0
