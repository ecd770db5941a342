"""The ledger under several real processes, some of them killed."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter

import pytest

from tests.ledger.conftest import MakeStudy, let_go, start, trials_of
from tracker.ledger.ledger import Ledger
from tracker.study.failures import RetryPolicy

DRAIN = """
import json, sys, time
import tracker.ledger.trials  # Optuna, which the first claim would load
from tracker.ledger.ledger import Ledger
done = []
with Ledger(sys.argv[1]) as ledger:
    print("ready", flush=True)
    sys.stdin.readline()
    while (claim := ledger.leases.claim("small", sys.argv[2])) is not None:
        ledger.leases.complete(claim, {"best_acc": 0.5}, f"run-{claim.cell_id}", 0.0)
        done.append(claim.cell_id)
        time.sleep(0.01)  # the others' turn
print(json.dumps(done))
"""

OPEN = """
import sys
from tracker.ledger.ledger import Ledger
sys.stdin.readline()
with Ledger(sys.argv[1]) as ledger:
    print(len(ledger.studies()))
"""

HOLD = """
import sys, time
from tracker.ledger.ledger import Ledger
ledger = Ledger(sys.argv[1], lease_seconds=1.0)
print(ledger.leases.claim("small", "victim").cell_id, flush=True)
time.sleep(60)
"""

DIE_INSIDE = """
import os, sys
from tracker.ledger.ledger import Ledger
from tracker.study.failures import Failure, RetryPolicy
leases = Ledger(sys.argv[1], policy=RetryPolicy(wait_seconds=0.0)).leases
claim = leases.claim("small", "victim")
actions = {
    "claim": lambda: leases.claim("small", "victim"),
    "complete": lambda: leases.complete(claim, {"best_acc": 0.5}, "run", 0.0),
    "fail": lambda: leases.fail(claim, Failure("exception", "ValueError", "no")),
    "release": lambda: leases.release(claim, last_epoch=3),
    "reclaim": lambda: leases.reclaim_worker("small", "victim"),
}
os.environ["TRACKER_FAULT"] = "row-changed=kill"
actions[sys.argv[2]]()
"""

ENROLL = """
import sys
from tracker.ledger.ledger import Ledger
from tracker.study.load import parse_study
axes = {"model": ["resnet18"], "normalization": ["pretrain"], "seed": [int(seed) for seed in sys.argv[2:]]}
recipe = {"dataset": "digits", "source": "random", "epochs": 2}
study = parse_study({"name": "small", "question": "Which?", "recipe": recipe, "axes": axes}, file="study of a test")
with Ledger(sys.argv[1]) as ledger:
    print("ready", flush=True)
    sys.stdin.readline()
    enrolled = ledger.enroll(study)
    print(enrolled.new + enrolled.kept)
"""


def test_four_processes_run_every_cell_exactly_once(url: str, make_study: MakeStudy) -> None:
    """Four workers that drain 200 cells together take none twice and leave none, in the table and in Optuna."""
    study = make_study(seeds=range(100))
    assert len(study.cells) == 200
    with Ledger(url) as ledger:
        ledger.enroll(study)
        workers = [start(DRAIN, url, f"worker-{number}") for number in range(4)]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            let_go(worker)
        outputs = [worker.communicate(timeout=120) for worker in workers]
        assert [(errors, worker.returncode) for (_, errors), worker in zip(outputs, workers, strict=True)] == [
            ("", 0)
        ] * 4
        done = [json.loads(output) for output, _ in outputs]
        assert sum(len(cells) > 0 for cells in done) >= 2, "the workers did not run side by side"
        assert Counter(cell for cells in done for cell in cells) == dict.fromkeys((c.id for c in study.cells), 1)
        rows = ledger.rows("small")
        assert {(row.state, row.attempts, row.token, row.run_id == f"run-{row.cell_id}") for row in rows} == {
            ("COMPLETE", 1, 1, True)
        }
        assert Counter(trial.state.name for trial in trials_of(url)) == {"COMPLETE": 200}
        assert ledger.mend("small") == []


def test_four_processes_can_open_a_fresh_database_at_once(empty_url: str) -> None:
    """Whoever comes first makes the tables; the others wait, and nobody fails."""
    openers = [start(OPEN, empty_url) for _ in range(4)]
    for opener in openers:
        let_go(opener)
    assert [opener.communicate(timeout=60) for opener in openers] == [("0\n", "")] * 4


def test_a_killed_worker_loses_its_cell_but_nothing_is_lost(url: str, make_study: MakeStudy) -> None:
    """After SIGKILL the cell is taken back when its lease has run out, and another worker completes it."""
    with Ledger(url, policy=RetryPolicy(wait_seconds=0.0)) as ledger:
        ledger.enroll(make_study())
        victim = start(HOLD, url)
        assert victim.stdout is not None
        cell_id = victim.stdout.readline().strip()
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        assert ledger.counts("small").running == 1
        deadline = time.monotonic() + 10
        while not (lost := ledger.leases.reclaim_expired("small")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert [(row.cell_id, row.worker) for row in lost] == [(cell_id, "victim")]
        while (claim := ledger.leases.claim("small", "successor")) is not None:
            ledger.leases.complete(claim, {"best_acc": 0.5}, None, 0.0)
        assert {row.cell_id: row.attempts for row in ledger.rows("small")}[cell_id] == 2
    assert Counter(trial.state.name for trial in trials_of(url)) == {"COMPLETE": 4}


@pytest.mark.parametrize("action", ["claim", "complete", "fail", "release", "reclaim"])
def test_a_kill_between_row_and_trial_leaves_neither(url: str, make_study: MakeStudy, action: str) -> None:
    """A process killed between the two writes of a transaction has written nothing."""
    with Ledger(url) as ledger:
        ledger.enroll(make_study())
        victim = start(DIE_INSIDE, url, action)
        _, errors = victim.communicate(timeout=60)
        assert (victim.returncode, errors) == (-signal.SIGKILL, "")
        row, *others = ledger.rows("small")
        assert (row.state, row.worker, row.metrics, row.failures) == ("RUNNING", "victim", None, 0)
        assert (row.attempts, row.last_epoch, row.failure_class) == (1, None, None)
        assert {other.state for other in others} == {"WAITING"}
        assert [trial.state.name for trial in trials_of(url)] == ["RUNNING"] + ["WAITING"] * 3
        assert trials_of(url)[0].user_attrs.keys() == {"cell_id", "cell"}
        assert ledger.mend("small") == []
        assert [lost.worker for lost in ledger.leases.reclaim_worker("small", "victim")] == ["victim"]


def test_two_enrollments_at_once_make_one_grid(url: str) -> None:
    """Two sweeps that start the same study together, one with more seeds, end with the grid of whoever came last."""
    few, many = start(ENROLL, url, "1", "2", "3"), start(ENROLL, url, *map(str, range(1, 61)))
    for sweep in (few, many):
        assert sweep.stdout is not None
        assert sweep.stdout.readline() == "ready\n"
    for sweep in (few, many):
        let_go(sweep)
    assert [sweep.communicate(timeout=60) for sweep in (few, many)] == [("3\n", ""), ("60\n", "")]
    with Ledger(url) as ledger:
        everything, grid = ledger.rows("small", in_grid=False), ledger.rows("small")
        assert len(everything) == len({row.cell_id for row in everything}) == 60
        document = ledger.definition("small")
        assert document is not None
        assert len(grid) == len(document["axes"]["seed"])
        assert len(trials_of(url)) == len(grid)
        assert ledger.mend("small") == []
