"""`tracker sweep --until-decided`: a real study that grows, is killed between two rounds, and goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.sweep.conftest import ask_tracker, environment, ledger_rows, run_tracker, runs_of
from tracker.ledger.ledger import Ledger
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.study import Study
from tracker.tracking.server import lifecycle

STUDY = """
question: Which of two, and is one seed enough?
baseline: minmax
datasets: {low: {kind: digits, classes: [0, 1, 2], image_size: 16}}
recipe:
  {model: mobilenet_v3_small, dataset: low, source: random, epochs: 1, batch_size: 32, flip: false,
   limit_train: 32, limit_test: 40}
axes:
  normalization: [minmax, finetune]
  seed: [1]
"""

DIES = """
import os, signal
import {module} as module
first = module.{name}
calls = 0
def dies(*arguments):
    global calls
    calls += 1
    if calls == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return first(*arguments)
module.{name} = dies
from tracker.cli.main import main
main()
"""
"""`tracker`, as Python code that dies where a function is called for the n-th time."""

ROW = "mobilenet_v3_small/low"


def kill_tracker(home: Path, module: str, name: str, call: int, *arguments: str) -> str:
    """Run `tracker ...` until it kills itself where a function is called; return what it said."""
    code = DIES.format(module=module, name=name, call=call)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=home.parent,
        env=environment(home),
        timeout=240,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stderr


def stored(home: Path) -> Study:
    """Return the study as the trial database has it."""
    with Ledger.local(Home(home)) as ledger:
        document = ledger.definition("two")
    assert document is not None
    return parse_study(document, file="stored")


@pytest.mark.soak
def test_a_study_grows_until_it_is_decided_and_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    """Killed when it has grown and nothing of that is run, it goes on with this round, and does not grow again.

    One seed decides nothing, so the comparison is brought to three, which are the most that are
    allowed here. No cell is run twice, `compare` repeats the verdicts, and the file does not undo them.
    """
    home, file = tmp_path / "mlruns", tmp_path / "two.yaml"
    file.write_text(STUDY)
    command = ("sweep", "--study", str(file), "--until-decided", "--max-seeds", "3", "--workers", "2")
    lifecycle.start(Home(home))
    try:
        said = kill_tracker(home, "tracker.sweep.run", "reconcile", 2, *command)
        assert "round 1: until every comparison is decided, with 3 seeds at most" in said
        assert f"round 2: 1 of 1 comparisons undecided; 4 further cells (seeds 2-3 in {ROW}: minmax, " in said
        assert Counter(row.state for row in ledger_rows(home, "two")) == {"COMPLETE": 2, "WAITING": 4}
        grown = stored(home)
        assert grown.looks == 2
        assert grown.more_seeds == {f"{ROW}/{name}": (2, 3) for name in ("minmax", "finetune")}

        done = run_tracker(home, *command)
    finally:
        lifecycle.stop(Home(home))
    assert "4 cells of further seeds, which --until-decided added, are kept" in done.stderr
    assert "round 2: until every comparison is decided" in done.stderr
    assert "round 3" not in done.stderr
    assert stored(home) == grown
    assert [(row.state, row.attempts) for row in ledger_rows(home, "two")] == [("COMPLETE", 1)] * 6
    assert Counter(run.status for run in runs_of(home, "two")) == {"FINISHED": 6}

    board = json.loads(ask_tracker(home, "compare", "--study", "two", "--format", "json").stdout)
    scores = board["rows"][0]["scores"]
    assert board["rules"]["look"] == 2
    assert [scores[name]["n"] for name in ("minmax", "finetune")] == [3, 3]
    comparison = scores["finetune"]["comparison"]
    assert comparison["images"] == 40
    left = comparison["verdict"] == "undecided"
    assert ("0 of 1 comparisons decided; not decided" if left else "decided\n") in done.stderr

    plan = ask_tracker(home, "sweep", "--study", str(file), "--dry-run")
    assert "4 cells of further seeds" in plan.stderr and "are kept" in plan.stderr
    assert "6: 6 done, 0 to do" in plan.stdout
    plan = ask_tracker(home, "sweep", "--study", str(file), "--dry-run", "--replace")
    assert "4 cells of further seeds" in plan.stderr and "leave it with --replace" in plan.stderr
    assert "2: 2 done, 0 to do" in plan.stdout
