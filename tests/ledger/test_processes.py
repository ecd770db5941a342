"""The ledger under several real processes, some of them killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter

from tests.ledger.conftest import MakeStudy, trials_of
from tracker.ledger.ledger import Ledger

DRAIN = """
import json, sys, time
import tracker.ledger.trials  # Optuna, which the first claim would load
from tracker.ledger.ledger import Ledger
done = []
with Ledger(sys.argv[1]) as ledger:
    print("ready", flush=True)
    sys.stdin.readline()
    while (claim := ledger.claim("small", sys.argv[2])) is not None:
        ledger.complete(claim, {"best_acc": 0.5}, f"run-{claim.cell_id}", 0.0)
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
print(ledger.claim("small", "victim").cell_id, flush=True)
time.sleep(60)
"""

DIE_INSIDE = """
import os, signal, sys
from tracker.ledger.ledger import Ledger
from tracker.ledger.trials import Trials
ledger = Ledger(sys.argv[1])
claim = ledger.claim("small", "victim")
bring = Trials.bring
def bring_and_die(*arguments):
    bring(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
Trials.bring = bring_and_die
ledger.complete(claim, {"best_acc": 0.5}, "run", 0.0)
"""


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a process that runs a script."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def let_go(process: subprocess.Popen[str]) -> None:
    """Send the line a script waits for."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


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


def test_four_processes_can_open_a_fresh_database_at_once(url: str) -> None:
    """Whoever comes first makes the tables; the others wait, and nobody fails."""
    openers = [start(OPEN, url) for _ in range(4)]
    for opener in openers:
        let_go(opener)
    assert [opener.communicate(timeout=60) for opener in openers] == [("0\n", "")] * 4


def test_a_killed_worker_loses_its_cell_but_nothing_is_lost(url: str, make_study: MakeStudy) -> None:
    """After SIGKILL the cell is taken back when its lease has run out, and another worker completes it."""
    with Ledger(url) as ledger:
        ledger.enroll(make_study())
        victim = start(HOLD, url)
        assert victim.stdout is not None
        cell_id = victim.stdout.readline().strip()
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        assert ledger.counts("small").running == 1
        deadline = time.monotonic() + 10
        while not (lost := ledger.reclaim_expired("small")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert [(row.cell_id, row.worker) for row in lost] == [(cell_id, "victim")]
        while (claim := ledger.claim("small", "successor")) is not None:
            ledger.complete(claim, {"best_acc": 0.5}, None, 0.0)
        assert {row.cell_id: row.attempts for row in ledger.rows("small")}[cell_id] == 2
    assert Counter(trial.state.name for trial in trials_of(url)) == {"COMPLETE": 4}


def test_a_kill_between_row_and_trial_leaves_neither(url: str, make_study: MakeStudy) -> None:
    """A process killed after it wrote both, before the transaction ended, has written nothing."""
    with Ledger(url) as ledger:
        ledger.enroll(make_study())
        victim = start(DIE_INSIDE, url)
        _, errors = victim.communicate(timeout=60)
        assert (victim.returncode, errors) == (-signal.SIGKILL, "")
        row = ledger.rows("small")[0]
        assert (row.state, row.worker, row.metrics) == ("RUNNING", "victim", None)
        assert trials_of(url)[0].state.name == "RUNNING"
        assert trials_of(url)[0].user_attrs.keys() == {"cell_id", "cell"}
        assert ledger.mend("small") == []
