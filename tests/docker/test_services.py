"""Every service of our image, run as the process that it is in its container; commands come from the files."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import psycopg
import pytest

from benchmarks.postgresql import lacking, system_programs, temporary_server, wheel_programs
from tests.docker.files import DOCKER, Service, our_services, settings
from tests.docker.processes import Stage, children, free_port
from tracker.ledger.ledger import Ledger
from tracker.study.load import parse_study

STUDY = """
question: Does a container do its work?
datasets:
  low: {kind: digits, classes: [0, 1, 2], image_size: 16}
recipe: {model: mobilenet_v3_small, dataset: low, source: random, normalization: minmax, epochs: 1,
  batch_size: 32, limit_train: 32, limit_test: 30, flip: false}
baseline: minmax
axes: {seed: [1]}
"""


def services(stage: Stage) -> dict[str, Service]:
    """Return the services, STUDY being a study of one cell in experiments/."""
    experiments = stage.folder / "srv" / "experiments"
    experiments.mkdir()
    (experiments / "tiny.yaml").write_text(STUDY)
    return our_services(settings() | {"STUDY": "tiny"})


def ask(stage: Stage, path: str, user: str | None = "admin", host: str | None = None) -> Any:
    """Ask MLflow's REST interface, and return what it answers; an error's status if it refuses."""
    request = urllib.request.Request(f"http://127.0.0.1:{stage.port}/api/2.0/mlflow/{path}")
    if host:
        request.add_header("Host", host)
    if user:
        credentials = f"{user}:{stage.secret('mlflow_admin_password')}".encode()
        request.add_header("Authorization", f"Basic {base64.b64encode(credentials).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 (our own server)
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code


def guarded(stage: Stage) -> None:
    """See that the server answers to the admin under the names it has, and to nobody else."""
    experiments = "experiments/search?max_results=5"
    assert "experiments" in ask(stage, experiments)
    assert "experiments" in ask(stage, experiments, host="mlflow:5000")
    assert ask(stage, experiments, user=None) == 401
    assert ask(stage, experiments, host="evil.example:5000") == 403


def see_the_run(stage: Stage) -> str:
    """Return the id of the one run of a cell, which is done."""
    found = ask(stage, "experiments/get-by-name?experiment_name=tiny")
    request = urllib.request.Request(
        f"http://127.0.0.1:{stage.port}/api/2.0/mlflow/runs/search",
        json.dumps({"experiment_ids": [found["experiment"]["experiment_id"]]}).encode(),
        {"Content-Type": "application/json"},
    )
    credentials = f"admin:{stage.secret('mlflow_admin_password')}".encode()
    request.add_header("Authorization", f"Basic {base64.b64encode(credentials).decode()}")
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 (our own server)
        runs = json.load(answer)["runs"]
    (run,) = [run for run in runs if any(metric["key"] == "best_acc" for metric in run["data"].get("metrics", []))]
    assert run["info"]["status"] == "FINISHED"
    run_id: str = run["info"]["run_id"]
    return run_id


@pytest.mark.soak
def test_the_default_profile(tmp_path: Path) -> None:
    """MLflow on SQLite gets healthy, asks for the password, takes a cell from the worker; killed, it fails; told
    to end, it ends well."""
    stage = Stage(tmp_path)
    ours = services(stage)
    with stage.running(ours["mlflow"]) as server:
        stage.healthy(ours["mlflow"], server)
        guarded(stage)
        with stage.running(ours["worker"]) as worker:
            assert stage.ends(worker) == 0, (tmp_path / "worker.log").read_text()
        assert "tiny, best_acc" in stage.log
        assert "the runs: http://127.0.0.1:5000/#/experiments/" in stage.log, "not the server's name among containers"
        run_id = see_the_run(stage)
        assert stage.see_no_secrets() > 0
        (inner,) = [child for child in children(server) if not child.children()]
        inner.send_signal(signal.SIGKILL)
        assert server.wait(20) != 0, "restart: unless-stopped would not bring it back after `on-failure` either"
    assert list((tmp_path / "volume" / "home" / "artifacts").glob(f"*/{run_id}/artifacts/*"))
    assert not any(value in path.read_text() for path in tmp_path.glob("*.log") for value in stage.secrets())


@pytest.mark.soak
def test_the_server_ends_when_it_is_told(tmp_path: Path) -> None:
    """`docker stop` sends SIGTERM: the server ends with 0 long before the grace period is over, and starts again."""
    stage = Stage(tmp_path)
    server = services(stage)["mlflow"]
    for _ in range(2):
        with stage.running(server) as process:
            stage.healthy(server, process)
            began = time.monotonic()
            process.terminate()
            assert process.wait(20) == 0
            assert time.monotonic() - began < 15


@pytest.mark.soak
def test_a_backup_of_the_default_profile(tmp_path: Path) -> None:
    """`exec mlflow tracker backup`, then `run mlflow restore`: the volume that was lost has its run again."""
    stage = Stage(tmp_path)
    ours = services(stage)
    server = ours["mlflow"]
    with stage.running(server) as process:
        stage.healthy(server, process)
        with stage.running(ours["worker"]) as worker:
            assert stage.ends(worker) == 0, (tmp_path / "worker.log").read_text()
        run_id = see_the_run(stage)
        command = ["tracker", "backup", "/var/backups/tracker", "--keep", "14"]
        with stage.running(replace(server, name="backup", argv=command)) as backup:
            assert stage.ends(backup) == 0, (tmp_path / "backup.log").read_text()
    lost = tmp_path / "volume"
    lost.rename(tmp_path / "lost")
    lost.mkdir()
    command = ["tracker", "restore", "/var/backups/tracker"]
    with stage.running(replace(server, name="restore", argv=command)) as restore:
        assert stage.ends(restore) == 0, (tmp_path / "restore.log").read_text()
    with stage.running(server) as process:
        stage.healthy(server, process)
        assert see_the_run(stage) == run_id
    checkpoints = [path.name for path in lost.glob(f"home/artifacts/*/{run_id}/**/*.safetensors")]
    assert len(checkpoints) == 1


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Stage]:
    """PostgreSQL, initialised by docker/postgres-init.sh, and an S3 store, where the team's services look for them."""
    if reason := lacking():
        pytest.skip(reason)
    port = free_port()
    with temporary_server(durable=False) as url:
        folder = url.split("host=")[1]
        stage = Stage(tmp_path, {"http://s3:8333": f"http://127.0.0.1:{port}"}, system_programs() or wheel_programs())
        initialise(stage, folder)
        for name in ("mlflow_database", "trials_database"):
            path = tmp_path / "secrets" / name
            address = path.read_text().replace("@postgres:5432/", "@/").strip() + f"?host={folder}\n"
            path.chmod(0o644)
            path.write_text(address)
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        with (tmp_path / "s3.txt").open("w") as log:
            store = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{port}/moto-api/")
            yield stage
        finally:
            store.terminate()
            store.wait(20)


def initialise(stage: Stage, folder: str) -> None:
    """Do to an empty PostgreSQL what its image does: run the scripts of /docker-entrypoint-initdb.d."""
    environment = {
        "PATH": f"{stage.programs}:{os.environ['PATH']}",
        "PGHOST": folder,
        "POSTGRES_USER": "tracker",  # the superuser of the test's server
        "MLFLOW_DATABASE_PASSWORD_FILE": str(stage.folder / "secrets" / "mlflow_database_password"),
        "TRIALS_DATABASE_PASSWORD_FILE": str(stage.folder / "secrets" / "trials_database_password"),
    }
    done = subprocess.run([DOCKER / "postgres-init.sh"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def wait_for(address: str) -> None:
    """Wait until something answers there."""
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()  # noqa: S310 (our own server)
            return
        except OSError:
            assert time.monotonic() < deadline, address
            time.sleep(0.2)


def bucket(stage: Stage) -> list[str]:
    """List the objects of the store's bucket."""
    client = boto3.client(
        "s3",
        endpoint_url=stage.elsewhere["http://s3:8333"],
        region_name="us-east-1",
        aws_access_key_id=stage.secret("s3_access_key"),
        aws_secret_access_key=stage.secret("s3_secret_key"),
    )
    return [found["Key"] for found in client.list_objects_v2(Bucket="mlflow").get("Contents", [])]


@pytest.mark.soak
def test_the_team_profile(team: Stage) -> None:
    """On PostgreSQL and S3 the team's services work in their order: bucket, server, workers; each keeps its place."""
    ours = services(team)
    for _ in range(2):  # a one-shot may be started again
        with team.running(ours["s3-bucket"]) as maker:
            assert maker.wait(60) == 0, (team.folder / "s3-bucket.log").read_text()
    assert bucket(team) == []
    with team.running(ours["mlflow-team"]) as server:
        team.healthy(ours["mlflow-team"], server)
        guarded(team)
        with team.running(ours["workers"]) as workers:
            assert team.ends(workers) == 0, (team.folder / "workers.log").read_text()
        run_id = see_the_run(team)
        with Ledger(team.secret("trials_database")) as ledger:
            assert [row.state for row in ledger.rows("tiny")] == ["COMPLETE"]
        with team.running(ours["backup"]) as backup:
            assert team.ends(backup) == 0, (team.folder / "backup.log").read_text()
    (copy,) = (team.folder / "backups").iterdir()
    assert len([path for path in copy.rglob("*") if path.is_file() and path.read_bytes()[:5] == b"PGDMP"]) == 2
    assert [name for name in bucket(team) if run_id in name], "the checkpoint is not in the store"
    assert not (team.folder / "volume" / "home" / "tracking.db").exists()
    assert not (team.folder / "volume" / "home" / "trials.db").exists()
    kept = [path for path in team.folder.rglob("*") if path.is_file() and path.parent.name != "secrets"]
    assert len(kept) > 3
    for path in kept:
        content = path.read_bytes()
        assert not [value for value in team.secrets() if value.encode() in content], f"a secret is in {path}"


@pytest.mark.soak
def test_a_database_is_its_owners_alone(team: Stage) -> None:
    """MLflow's role cannot connect to the trials, nor the trials' to MLflow's runs."""
    socket = team.secret("trials_database").split("host=")[1]
    for role, database in (("mlflow", "mlflow"), ("trials", "trials")):
        psycopg.connect(host=socket, user=role, dbname=database).close()
    for role, database in (("mlflow", "trials"), ("trials", "mlflow")):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(host=socket, user=role, dbname=database)


@pytest.mark.soak
def test_a_bucket_of_somebody_else_is_not_taken(tmp_path: Path) -> None:
    """A store that cannot be reached ends the one-shot with an error, so that it is tried again."""
    stage = Stage(tmp_path, {"http://s3:8333": f"http://127.0.0.1:{free_port()}"})
    with stage.running(our_services()["s3-bucket"]) as maker:
        assert maker.wait(120) == 1
    assert "Could not connect" in stage.log


@pytest.mark.soak
def test_the_dashboard(team: Stage) -> None:
    """optuna-dashboard starts on an empty trial database and shows a study that comes later."""
    pytest.importorskip("optuna_dashboard")
    port = free_port()
    team.elsewhere["8080"] = str(port)
    name = f"t{uuid4().hex}"
    document = {
        "name": name,
        "question": "Is it shown?",
        "recipe": {"model": "resnet18", "dataset": "digits"},
        "axes": {"normalization": ["pretrain", "minmax"]},
    }
    with team.running(our_services()["dashboard"]) as dashboard:
        wait_for(f"http://127.0.0.1:{port}/")
        with Ledger(team.secret("trials_database")) as ledger:
            ledger.enroll(parse_study(document, file="study of a test"))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=30) as answer:
            assert [study["study_name"] for study in json.load(answer)["study_summaries"]] == [name]
        team.see_no_secrets()
        assert dashboard.poll() is None
    assert not [value for value in team.secrets() if value in team.log]
