"""Two machines, each with a home of its own, that share a trial database and an MLflow server."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ledger.conftest import KINDS
from tests.sweep.conftest import STUDY, environment
from tests.sweep.crew_of_one import run_worker
from tests.sweep.trials import SETTINGS, Bench, small_study
from tracker.ledger.ledger import Ledger, local_url
from tracker.study.load import load_study
from tracker.sweep.events import CellResumed, Event
from tracker.sweep.workers.process import work

pytestmark = pytest.mark.soak  # together three minutes of two cores


def test_another_machine_goes_on_with_a_cell(bench: Bench, tmp_path: Path) -> None:
    """Killed on one, resumed on the other from the artifact store, with the result of an undisturbed cell.

    The epoch that was logged but not left in the store yet is trained again: its values come twice,
    and are the same.
    """
    undisturbed = small_study("undisturbed", epochs=4)
    bench.enroll(undisturbed)
    assert run_worker(bench.config(undisturbed)) == 0
    study = small_study("moved", epochs=4)
    bench.enroll(study)
    always = replace(SETTINGS, share_seconds=0.0)
    first = bench.config(study, "first", home=tmp_path / "first", shares=True, settings=always)
    assert run_worker(first, "epoch-logged=kill@3") == -signal.SIGKILL
    with Ledger.local(bench.home, policy=SETTINGS.policy) as ledger:
        ledger.leases.reclaim_worker(study.name, "first")
    second = bench.config(study, "second", home=tmp_path / "second", shares=True, settings=always)
    events: list[Event] = []
    work(second, events.append, threading.Event())
    (resumed,) = [event for event in events if isinstance(event, CellResumed)]
    assert (resumed.done, resumed.origin) == (2, "the artifact store")
    result, expected = dict(bench.result(study)), dict(bench.result(undisturbed))
    del result["checkpoint"], expected["checkpoint"]  # each names its study
    again = {name: sorted(set(points)) for name, points in result["points"].items()}  # type: ignore[attr-defined]
    assert {**result, "points": again} == expected
    assert not list((tmp_path / "second" / "work").glob("*"))


def tracker(home: Path, *arguments: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `tracker ...` on the machine whose home is `home`."""
    done = subprocess.run(
        [sys.executable, "-m", "tracker", *arguments],
        capture_output=True, text=True, cwd=home.parent, env=environment(home) | variables, timeout=240,
    )  # fmt: skip
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.mark.parametrize("kind", KINDS[-1:])  # a server where one can be had
def test_a_worker_elsewhere_needs_the_address_of_the_database_only(
    kind: str, bench: Bench, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Enrolled on one machine, worked on by another: definition and source come to it, the first shows the table."""
    storage = request.getfixturevalue("empty_postgresql") if kind == "postgresql" else local_url(bench.home)
    file = tmp_path / "small.yaml"
    file.write_text(STUDY)
    here, there = tmp_path / "here" / "mlruns", tmp_path / "there" / "mlruns"
    here.parent.mkdir()
    there.parent.mkdir()
    shared = {"MLFLOW_TRACKING_URI": bench.uri, "TRACKER_STORAGE": storage}
    enrolled = tracker(here, "sweep", "--study", str(file), "--enroll-only", **shared)
    assert "4 of 4 cells wait for workers" in enrolled.stderr
    worked = tracker(there, "worker", "--study", "small", "--max-cells", "1", "--burst", **shared)
    assert re.search(r"ends after 1 cells", worked.stderr)
    assert list((there / "sources" / "low").glob("*.safetensors"))
    assert not list((here / "work").iterdir())
    status = tracker(here, "status", "--study", "small", **shared)
    assert "1 done, 3 waiting" in status.stderr
    tracker(there, "worker", "--study", "small", **shared)
    shown = tracker(here, "sweep", "--study", str(file), **shared)
    assert "4 done, 0 to do" in shown.stderr
    assert "pretrain" in shown.stdout
    assert "agree" in tracker(here, "doctor", "--study", str(file), "--device", "cpu", **shared).stdout


def test_a_worker_says_what_is_missing_before_it_takes_a_cell(bench: Bench, tmp_path: Path) -> None:
    """A machine without the source names it; no attempt is spent."""
    file = tmp_path / "small.yaml"
    file.write_text(STUDY)
    here = tmp_path / "here" / "mlruns"
    here.parent.mkdir()
    storage = local_url(bench.home)
    bench.enroll(load_study(str(file)))
    shared = {"MLFLOW_TRACKING_URI": bench.uri, "TRACKER_STORAGE": storage}
    refused = tracker(here, "worker", "--study", "small", code=1, **shared)
    assert "source low for mobilenet_v3_small is neither here nor in MLflow" in refused.stderr
    unknown = tracker(here, "worker", "--study", "smal", code=2, **shared)
    assert "studies there: small" in unknown.stderr
    with Ledger.local(bench.home) as ledger:
        assert {row.attempts for row in ledger.rows("small")} == {0}


def test_asked_to_stop_a_worker_ends_with_exit_code_1(bench: Bench, tmp_path: Path) -> None:
    """A scheduler sees that work is left: the cell waits where it stands."""
    study = small_study("stopped", epochs=5000)
    bench.enroll(study)
    variables = {"MLFLOW_TRACKING_URI": bench.uri, "TRACKER_STORAGE": local_url(bench.home)}
    with subprocess.Popen(
        [sys.executable, "-m", "tracker", "worker", "--study", "stopped"],
        stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment(tmp_path / "mlruns") | variables,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if "epoch" in line:
                break
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
    assert process.returncode == 1, rest
    assert "was stopped after 1 cells" in rest
    row = bench.row(study)
    assert (row.state, row.failures) == ("WAITING", 0)
    assert row.last_epoch is not None
    assert [path.name for path in (tmp_path / "mlruns" / "work").iterdir()] == [row.run_key]
