"""Workers on a Ray cluster: a real one, in a network namespace where it can listen to nobody else."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from tests.sweep.conftest import IN_FOREGROUND, STUDY, environment
from tracker.ledger.ledger import Ledger
from tracker.ledger.rows import CellRow
from tracker.study.home import Home
from tracker.tracking.client import talking_to
from tracker.tracking.reading import read_runs
from tracker.tracking.server.addresses import database_uri

SHORT = """
question: Does Ray lose a cell?
baseline: finetune
datasets:
  high: {kind: digits, classes: [7, 8, 9], image_size: 16}
recipe:
  model: mobilenet_v3_small
  dataset: high
  source: random
  epochs: 3
  batch_size: 32
  flip: false
  val_fraction: 0.2
  limit_train: 64
  limit_test: 60
axes:
  normalization: [finetune, instance]
  seed: [1]
"""

WAIT_SECONDS = 280.0

ADDRESS = "10.9.9.9"

NAMESPACE = f"""
set -e
ip link set lo up
ip address add {ADDRESS}/32 dev lo
ip route add default dev lo src {ADDRESS}
exec "$@"
"""

ALONE = ["unshare", "--map-root-user", "--net", "sh", "-c", NAMESPACE, "sh"]
"""Runs a command that reaches nobody, on a machine with an address others would reach it by."""

CLUSTER = """
import sys
from ray.cluster_utils import Cluster

node = {"num_cpus": 1, "object_store_memory": 80 << 20}
head = {**node, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
address = cluster.address
extra = None
for line in sys.stdin:
    if line == "add\\n":
        extra = cluster.add_node(**node)
    elif line == "remove\\n":
        cluster.remove_node(extra, allow_graceful=False)
    elif line == "sweep\\n":
        import subprocess
        sweep = subprocess.Popen([*sys.argv[1:], "--address", address], stdout=sys.stderr)
    elif line == "stop\\n":
        sweep.terminate()
        print(sweep.wait(), flush=True)
cluster.shutdown()
"""


def lacking() -> str | None:
    """Say what keeps Ray from being run here, None if nothing does."""
    if find_spec("ray") is None:
        return "Ray is not installed: pip install '.[ray]'"
    try:
        subprocess.run([*ALONE, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no network namespace can be made: {error}"
    return None


def uses_ray(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that starts Ray."""
    reason = lacking()
    for mark in (
        pytest.mark.skipif(reason is not None, reason=reason or ""),
        pytest.mark.timeout(600),
        pytest.mark.ray,
    ):
        test = mark(test)
    return test


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two short cells that need no source."""
    path = tmp_path / "short.yaml"
    path.write_text(SHORT)
    return path


def command(study: Path, *arguments: str) -> list[str]:
    """Return the command that sweeps a study on Ray."""
    fixed = ["--executor", "ray", "--device", "cpu", "--retry-wait", "0.1"]
    return [sys.executable, "-c", IN_FOREGROUND, "sweep", "--study", str(study), *fixed, *arguments]


@contextmanager
def started(arguments: list[str], home: Home, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a namespace of its own; nothing of it is left afterwards."""
    home.make(home.root)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    place = {"cwd": home.root.parent, "env": environment(home.root) | variables, "start_new_session": True}
    with (
        (home.root / "stderr").open("w") as errors,
        subprocess.Popen([*ALONE, *arguments], stderr=errors, **pipes, **place) as process,  # type: ignore[call-overload]
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                family = psutil.Process(process.pid).children(recursive=True)
                process.kill()
                for member in family:
                    with suppress(psutil.NoSuchProcess):
                        member.kill()


def finished(arguments: list[str], home: Home, code: int = 0, **variables: str) -> tuple[str, str]:
    """Run a command to its end; return what it printed to stdout and stderr."""
    with started(arguments, home, **variables) as process:
        out, _ = process.communicate(timeout=WAIT_SECONDS)
        errors = (home.root / "stderr").read_text()
        assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{errors}"
    return out, errors


def rows_of(home: Home, name: str) -> list[CellRow]:
    """Read the cells of a study, which may not be there yet."""
    if not home.trials_db.exists():
        return []
    with Ledger.local(home) as ledger:
        return ledger.rows(name)


def await_rows(process: subprocess.Popen[str], home: Home, hold: Callable[[list[CellRow]], bool]) -> list[CellRow]:
    """Wait until the cells of the short study are as they should be."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not hold(rows := rows_of(home, "short")):
        assert process.poll() is None and time.monotonic() < deadline, f"{rows}\n{(home.root / 'stderr').read_text()}"
        time.sleep(0.2)
    return rows


def running(rows: list[CellRow]) -> list[CellRow]:
    """Return the cells that are being worked on and have an epoch behind them."""
    return [row for row in rows if row.state == "RUNNING" and row.last_epoch is not None]


@uses_ray
def test_a_sweep_on_ray_ends_with_its_leaderboard(home: Home, tmp_path: Path) -> None:
    """The small study runs whole, epochs are shown as they end, and Ray says nothing on stdout."""
    study = tmp_path / "small.yaml"
    study.write_text(STUDY)
    out, errors = finished(command(study), home)
    assert out.startswith("small, best_acc")
    assert "[4/4]" in errors
    assert "epoch 1/2" in errors
    rows = rows_of(home, "small")
    assert [row.state for row in rows] == ["COMPLETE"] * 4
    assert all("-ray" in (row.worker or "") for row in rows)
    assert {run.status for run in read_runs(database_uri(home), "small")} == {"FINISHED"}


@uses_ray
def test_the_cell_of_a_killed_ray_worker_goes_on_elsewhere(home: Home, study: Path) -> None:
    """SIGKILL after the second epoch is logged: another worker goes on at the third, in the same run."""
    fault = {"TRACKER_FAULT": "epoch-logged=kill@2"}
    _, errors = finished(command(study, "--workers", "1", "--max-attempts", "9"), home, **fault)
    assert "was lost" in errors
    assert "goes on after epoch 2/3 (state from this machine)" in errors
    rows = rows_of(home, "short")
    assert [row.state for row in rows] == ["COMPLETE", "COMPLETE"]
    assert max(row.attempts for row in rows) > 1
    runs = read_runs(database_uri(home), "short")
    assert sorted(run.status for run in runs) == ["FINISHED", "FINISHED"]
    for run in runs:
        with talking_to(database_uri(home)) as client:
            assert [point.step for point in client.get_metric_history(run.run_id, "test_acc")] == [0, 1, 2]


def listening(pid: int) -> list[str]:
    """Return the addresses that anything in a process's namespace listens on, as the kernel writes them."""
    tables = [Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table]
    return [local.split(":")[0] for _, local, _, state, *_ in rows if state == "0A"]


@uses_ray
def test_ctrl_c_lets_ray_workers_keep_their_cells(home: Home, study: Path) -> None:
    """As a terminal sends it, to the whole group: the cell waits with its epochs kept, and nothing of Ray is left.

    While it ran it listened to this machine alone.
    """
    arguments = command(study, "--workers", "1", "--set", "recipe.epochs=1000", "--lease", "3")
    with started(arguments, home) as process:
        await_rows(process, home, lambda rows: len(running(rows)) == 1)
        family = psutil.Process(process.pid).children(recursive=True)
        assert any("raylet" in member.name() for member in family)
        heard_on = listening(process.pid)
        assert len(heard_on) > 5  # MLflow's, and Ray's several
        assert {address[-8:] for address in heard_on} == {"0100007F"}
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(WAIT_SECONDS) == 1, (home.root / "stderr").read_text()
    assert "given back where it stands" in (home.root / "stderr").read_text()
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []
    rows = rows_of(home, "short")
    assert [row.state for row in rows] == ["WAITING", "WAITING"]
    (kept,) = [row for row in rows if row.attempts]
    assert kept.last_epoch is not None and kept.failures == 0
    assert [run.status for run in read_runs(database_uri(home), "short")] == ["KILLED"]


@uses_ray
def test_the_size_of_a_cluster_is_followed_up_and_down(home: Home, study: Path) -> None:
    """A second node brings a second worker; its loss gives the cell back; a third takes the cell up again."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a socket's path has at most 107 characters
    sweep = command(study, "--set", "recipe.epochs=1000", "--lease", "3")
    variables = {
        "RAY_TMPDIR": folder,
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONWARNINGS": "ignore",
    }
    try:
        with started([sys.executable, "-c", CLUSTER, *sweep], home, **variables) as process:
            assert process.stdin is not None and process.stdout is not None

            def tell(word: str) -> None:
                assert process.stdin is not None
                process.stdin.write(f"{word}\n")
                process.stdin.flush()

            tell("sweep")
            (first,) = running(await_rows(process, home, lambda rows: len(running(rows)) == 1))
            tell("add")
            both = running(await_rows(process, home, lambda rows: len(running(rows)) == 2))
            (second,) = [row for row in both if row.cell_id != first.cell_id]
            tell("remove")
            await_rows(process, home, lambda rows: [row.failures for row in running(rows)] == [0] and lost(rows))
            tell("add")
            await_rows(process, home, lambda rows: len(running(rows)) == 2)
            tell("stop")
            assert process.stdout.readline() == "1\n", (home.root / "stderr").read_text()
            process.stdin.close()
            process.wait(WAIT_SECONDS)
    finally:
        shutil.rmtree(folder)
    rows = {row.cell_id: row for row in rows_of(home, "short")}
    assert (rows[first.cell_id].attempts, rows[first.cell_id].state) == (1, "WAITING")
    assert (rows[second.cell_id].attempts, rows[second.cell_id].state) == (2, "WAITING")


def lost(rows: list[CellRow]) -> bool:
    """Say whether a cell waits because its worker was lost."""
    return [row.failure_class for row in rows if row.state == "WAITING"] == ["lost-worker"]


@uses_ray
def test_a_cluster_that_is_not_there_is_named(home: Home, study: Path) -> None:
    """The address and a way on, not a traceback; and no cell is taken."""
    _, errors = finished(command(study, "--address", "127.0.0.1:1"), home, code=1)
    assert "Ray cluster 127.0.0.1:1" in errors
    assert "Traceback" not in errors
    assert [row.attempts for row in rows_of(home, "short")] == [0, 0]
