"""A password goes to the server that asks for it: no message, log, journal, link or argument has it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from tracker.cli.main import cli
from tracker.ledger.database import Database
from tracker.study.errors import LedgerError, TrackerError
from tracker.study.home import Home
from tracker.study.printing import shown
from tracker.study.secrets import part_credentials
from tracker.sweep.checkup.stores import check_tracking
from tracker.tracking.client import check_reachable
from tracker.tracking.run import open_run
from tracker.tracking.server.addresses import checked, store_name
from tracker.tracking.view import experiment_url, run_url

SECRET = "s3cret"  # noqa: S105 (of nobody)
VARIABLES = {
    "AWS_SECRET_ACCESS_KEY": f"aws-{SECRET}",
    "MLFLOW_AUTH_ADMIN_PASSWORD": f"admin-{SECRET}",
    "MLFLOW_FLASK_SERVER_SECRET_KEY": f"flask-{SECRET}",
    "MLFLOW_TRACKING_PASSWORD": f"password-{SECRET}",
    "MLFLOW_TRACKING_TOKEN": f"token-{SECRET}",
    "PGPASSWORD": f"postgres-{SECRET}",
    "RAY_AUTH_TOKEN": f"ray-{SECRET}",
}
URIS = [
    "http://user:{secret}@127.0.0.1:9",
    "http://user:p@{secret}@127.0.0.1:9",
    "http://user:a/{secret}@127.0.0.1:9",
    "http://{secret}@127.0.0.1:9",
    "http://user:a b {secret}@127.0.0.1:port",
    "http://user:{secret}#x@127.0.0.1:9",
    "http://127.0.0.1:9/?token={secret}",
    "user:{secret}@127.0.0.1:9",
]
DATABASES = [
    "postgresql+psycopg://user:{secret}@127.0.0.1:9/db",
    "postgresql+psycopg://user:a#{secret}@127.0.0.1:9/db",
    "postgresql+psycopg://user:a?{secret}@127.0.0.1:9/db",
    "postgresql+psycopg://user:a@{secret}@127.0.0.1:9/db",
    "postgresql+psycopg://127.0.0.1:9/db?user=user&password={secret}",
    "postgresql+psycopg://127.0.0.1:9/db?sslpassword={secret}",
    "postgresql+psycopg://user:{secret}@127.0.0.1:port/db",
    "mysql://user:{secret}@127.0.0.1/db",
]


@pytest.mark.parametrize("address", URIS)
def test_no_message_names_a_password_of_mlflow(address: str, home: Home) -> None:
    """Whatever is wrong with MLFLOW_TRACKING_URI, what is said of it, shown as a link or noted has no password."""
    uri = address.format(secret=SECRET)
    said = [shown(uri), store_name(home, uri), experiment_url(uri, "1"), run_url(uri, "1", "2")]
    for look in (checked, check_reachable):
        with pytest.raises(TrackerError) as caught:
            look(uri)
        said.append(str(caught.value))
    assert SECRET not in "".join(said)
    assert any("127.0.0.1" in text for text in said), "the address itself is named"


@pytest.mark.parametrize("address", DATABASES)
def test_no_message_names_a_password_of_a_database(address: str) -> None:
    """Nor does what is said of a trial database that cannot be reached, or is none."""
    with pytest.raises(LedgerError) as caught, Database(address.format(secret=SECRET)).reading():
        pass
    assert SECRET not in f"{caught.value!r}{caught.value}"


@pytest.mark.parametrize("address", [each for each in DATABASES if "port/" not in each and "mysql" not in each])
def test_no_password_in_an_argument(address: str, home: Home) -> None:
    """A URL with a password is refused on the command line, which every user of the machine can read, not repeated."""
    uri = address.format(secret=SECRET)
    done = CliRunner().invoke(cli, ["status", "--home", str(home.root), "--storage", uri])
    assert done.exit_code == 2 and "TRACKER_STORAGE" in done.output and SECRET not in done.output


def test_a_url_without_a_password_is_taken(home: Home) -> None:
    """The refusal is of passwords, not of URLs."""
    fine = "postgresql+psycopg://user@127.0.0.1:9/db"
    done = CliRunner().invoke(cli, ["status", "--home", str(home.root), "--storage", fine])
    assert isinstance(done.exception, LedgerError)


def test_no_journal_holds_a_password(home: Home) -> None:
    """What waits on disk for a server that is away says where it belongs, without the password."""
    run = open_run(f"http://user:{SECRET}@127.0.0.1:9", home, "x", "a", "key")
    run.log_metrics({"best_acc": 1.0})
    run.abandon()
    (journal,) = home.journal.glob("*.jsonl")
    assert "http://127.0.0.1:9" in journal.read_text() and SECRET not in journal.read_text()


def test_doctor_tells_no_secret(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tracker doctor` names addresses and what is wrong with them, for a person and for a program."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", URIS[0].format(secret=SECRET))
    said = str(list(check_tracking(home)))
    assert "127.0.0.1:9" in said and SECRET not in said


def test_a_traceback_tells_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does what Python prints of an error that nobody caught: MLflow never sees an address with a password."""
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://us%40er:a%2F{SECRET}@127.0.0.1:9/mlflow")
    part_credentials()
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:9/mlflow"
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "us@er"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == f"a/{SECRET}"
    with pytest.raises(TrackerError) as caught:
        checked(os.environ["MLFLOW_TRACKING_URI"])
    printed = "".join(traceback.format_exception(caught.value))
    assert "The above exception" in printed and SECRET not in printed


@pytest.mark.soak
def test_a_whole_sweep_tells_no_secret(tmp_path: Path) -> None:
    """No argument of any process of a sweep, nothing that it prints and no file that it writes has a secret."""
    environment = {**os.environ, **VARIABLES, "TRACKER_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    tracker = Path(sys.executable).with_name("tracker")
    options = (
        "--study",
        "quickstart",
        "--axis",
        "seed=1",
        "--axis",
        "tune=head",
        "--axis",
        "normalization=pretrain,minmax",
    )
    with (tmp_path / "said").open("wb") as said:
        sweep = subprocess.Popen(
            [tracker, "sweep", *options, "--device", "cpu", "--workers", "2", "--set", "recipe.epochs=1"],
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        seen: set[str] = set()
        while sweep.poll() is None:
            try:
                family = [psutil.Process(sweep.pid), *psutil.Process(sweep.pid).children(recursive=True)]
                seen |= {" ".join(process.cmdline()) for process in family}
            except psutil.Error:
                continue
            time.sleep(0.02)
    output = (tmp_path / "said").read_text()
    assert sweep.returncode == 0, output
    assert any("mlflow server" in line for line in seen) and any("forkserver" in line for line in seen), seen
    assert not [line for line in seen if SECRET in line]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20 and not [path for path in files if SECRET.encode() in path.read_bytes()]
