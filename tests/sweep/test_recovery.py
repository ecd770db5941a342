"""A kill -9 at every named point of a trial's life, and what another worker makes of what is left."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from mlflow import MlflowClient

from tests.sweep.crew_of_one import run_worker, start_worker
from tests.sweep.trials import SETTINGS, Bench, bench_beside, small_study
from tracker.ledger.ledger import Ledger
from tracker.study.faults import POINTS
from tracker.study.home import Home
from tracker.study.study import Study
from tracker.sweep.reconcile import reconcile
from tracker.vision.checkpoint import read_checkpoint


@pytest.fixture(scope="module")
def bench(served_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """One home for all tests of the file."""
    return bench_beside(served_home, Home(tmp_path_factory.mktemp("recovery") / "mlruns"))


@pytest.fixture(scope="module")
def undisturbed(bench: Bench) -> Mapping[str, object]:
    """The result of the cell that the others are, when nothing happens to it."""
    study = small_study("undisturbed")
    bench.enroll(study)
    assert run_worker(bench.config(study)) == 0
    return bench.result(study)


def trial_states(bench: Bench, study: Study) -> Counter[str]:
    """Count Optuna's trials by state."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{bench.home.trials_db}")
    try:
        loaded = optuna.load_study(study_name=study.name, storage=storage)
        return Counter(trial.state.name for trial in loaded.trials)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def comparable(result: Mapping[str, object]) -> Mapping[str, object]:
    """Leave the checkpoint's bytes out: it names the epoch's recipe, and so the study's cell."""
    return {key: value for key, value in result.items() if key != "checkpoint"}


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_point_a_cell_ends_as_if_nothing_had_happened(
    point: str, bench: Bench, undisturbed: Mapping[str, object]
) -> None:
    """After SIGKILL another worker goes on in the same run; result, table, Optuna, MLflow and disk are whole.

    The fault falls at the second time a point is reached where there is one: in the second epoch.
    """
    study = small_study(f"killed-{point}")
    bench.enroll(study)
    often = point in ("stepped", "epoch-trained", "state-written", "epoch-journaled", "epoch-logged", "file-kept")
    code = run_worker(bench.config(study, "victim"), f"{point}=kill@{2 if often else 1}")
    assert code == -signal.SIGKILL, f"{point} was not reached"

    bench.recover(study, "victim")
    assert not [row for row in bench.rows(study) if row.state == "RUNNING"]
    assert "RUNNING" not in trial_states(bench, study)
    if bench.row(study).run_key is not None and point not in ("claimed", "row-changed"):
        assert bench.run(study).status != "RUNNING"

    assert run_worker(bench.config(study, "heir")) == 0
    row = bench.row(study)
    assert row.state == "COMPLETE"
    assert comparable(bench.result(study)) == comparable(undisturbed)
    assert row.run_id == bench.run(study).run_id
    assert trial_states(bench, study) == {"COMPLETE": 1}
    with Ledger.local(bench.home) as ledger:
        reconcile(study.name, ledger, bench.home, bench.uri)  # what was left on the disk
        assert reconcile(study.name, ledger, bench.home, bench.uri) == []
    assert bench.scratch() == []


def test_a_resumed_cell_trains_no_epoch_twice(bench: Bench) -> None:
    """Killed in the third epoch, the heir begins there: the first two are in the run with their old times."""
    study = small_study("thrifty", epochs=4)
    bench.enroll(study)
    assert run_worker(bench.config(study, "victim"), "epoch-trained=kill@3") == -signal.SIGKILL
    bench.recover(study, "victim")
    before = bench.points(bench.run(study).run_id, "epoch_seconds")
    assert [step for step, _ in before] in ([0], [0, 1])  # the second may be on its way
    assert run_worker(bench.config(study, "heir")) == 0
    after = bench.points(bench.run(study).run_id, "epoch_seconds")
    assert [step for step, _ in after] == [0, 1, 2, 3]
    assert after[: len(before)] == before


def test_asked_to_stop_a_worker_keeps_the_middle_of_an_epoch(bench: Bench, undisturbed: Mapping[str, object]) -> None:
    """SIGTERM between two steps: the cell waits, its run is KILLED, and the next worker ends with the same bits."""
    study = small_study("asked")
    bench.enroll(study)
    assert run_worker(bench.config(study, "first"), "stepped=term@5") == 0
    row = bench.row(study)
    assert (row.state, row.last_epoch, row.failures) == ("WAITING", 0, 0)
    assert bench.run(study).status == "KILLED"
    newest = max(path.name for path in (bench.home.work / str(row.run_key)).glob("state-*"))
    assert newest.startswith("state-000001-000002-")
    assert run_worker(bench.config(study, "second")) == 0
    assert comparable(bench.result(study)) == comparable(undisturbed)
    assert bench.row(study).attempts == 2


def test_in_company_a_cell_ends_as_it_does_alone(bench: Bench, undisturbed: Mapping[str, object]) -> None:
    """Two workers side by side on one device, with as many threads each as the one alone had: the same bits."""
    studies = [small_study(f"company-{place}") for place in ("left", "right")]
    for study in studies:
        bench.enroll(study)
    workers = [start_worker(bench.config(study, study.name)) for study in studies]
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    for study in studies:
        assert comparable(bench.result(study)) == comparable(undisturbed)


def damage(path: Path) -> None:
    """Flip one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_state_falls_back_to_the_one_before_then_to_the_start(damaged: int, bench: Bench) -> None:
    """The result is the same; only the epochs after the last whole state are trained again."""
    study = small_study(f"damaged-{damaged}", epochs=4)
    bench.enroll(study)
    assert run_worker(bench.config(study, "victim"), "epoch-logged=kill@3") == -signal.SIGKILL
    bench.recover(study, "victim")
    row = bench.row(study)
    states = sorted((bench.home.work / str(row.run_key)).glob("state-*"), reverse=True)
    assert len(states) == 2
    for path in states[:damaged]:
        damage(path)
    whole = [int(path.name.split("-")[1]) for path in states[damaged:]]  # epochs done
    moment = time.time_ns() // 1_000_000
    assert run_worker(bench.config(study, "heir")) == 0
    run = bench.run(study)
    history = MlflowClient(bench.uri).get_metric_history(run.run_id, "test_acc")
    assert sorted({point.step for point in history if point.timestamp >= moment}) == list(range(*whole, 4))
    by_step: dict[int, set[float]] = {}
    for point in history:
        by_step.setdefault(point.step, set()).add(point.value)
    assert [len(values) for _, values in sorted(by_step.items())] == [1, 1, 1, 1]
    assert bench.row(study).state == "COMPLETE"


@pytest.mark.parametrize("fault", ["claimed=stop@1", "epoch-trained=stop@2"])
def test_a_worker_stopped_past_its_lease_does_no_harm(
    fault: str, bench: Bench, undisturbed: Mapping[str, object]
) -> None:
    """SIGSTOP, the lease runs out, another completes the cell; continued, the first writes nothing and ends."""
    study = small_study("frozen-" + fault.partition("=")[0])
    bench.enroll(study)
    short = replace(SETTINGS, lease_seconds=2.0)
    sleeper = start_worker(bench.config(study, "sleeper", settings=short), fault)
    deadline = time.monotonic() + 60
    while not (row := bench.row(study)).expired:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert run_worker(bench.config(study, "other", settings=short)) == 0
    done = bench.row(study)
    assert (done.state, done.token) == ("COMPLETE", row.token + 1)
    result = bench.result(study)
    assert sleeper.pid is not None
    os.kill(sleeper.pid, signal.SIGCONT)
    sleeper.join(60)
    assert sleeper.exitcode == 0
    assert bench.row(study) == done
    assert bench.result(study) == result
    assert comparable(result) == comparable(undisturbed)
    with Ledger.local(bench.home) as ledger:
        assert reconcile(study.name, ledger, bench.home, bench.uri) == []


def test_checkpoints_are_those_that_were_asked_for(bench: Bench) -> None:
    """--keep decides which weights become artifacts; the last epoch's are those of the last epoch."""
    files = {}
    for keep in ("best", "last", "both", "none"):
        study = small_study(f"kept-{keep}", epochs=2)
        bench.enroll(study)
        assert run_worker(bench.config(study, settings=replace(SETTINGS, keep=keep))) == 0
        run = bench.run(study)
        folder = next(bench.artifacts.glob(f"*/{run.run_id}/artifacts"))
        files[keep] = sorted(path.name for path in folder.glob("checkpoint/*"))
        if keep == "both":
            facts, _ = read_checkpoint(folder / "checkpoint" / "last.safetensors")
            assert (facts.epoch, facts.test_acc) == (1, run.metrics["last_acc"])
    assert files == {
        "best": ["best.safetensors"],
        "last": ["last.safetensors"],
        "both": ["best.safetensors", "last.safetensors"],
        "none": [],
    }
