"""Commands that move a study, and whether everything of it arrived."""

from __future__ import annotations

from click.testing import CliRunner, Result
from mlflow import MlflowClient

from tests.operations.transfer_material import NAME, Half, in_ledger, in_mlflow, in_optuna, in_registry, mapping
from tests.sweep.conftest import environment
from tracker.cli.main import cli
from tracker.ledger.ledger import Ledger, local_url
from tracker.study.home import Home
from tracker.tracking.reading import read_study
from tracker.tracking.server.addresses import database_uri


def ask(home: Home, *arguments: str, code: int = 0) -> Result:
    """Run a command in this process."""
    done = CliRunner().invoke(cli, arguments, env=environment(home.root))
    found = done.exit_code if done.exception is None or isinstance(done.exception, SystemExit) else 1
    assert found == code, f"exit code {done.exit_code}\n{done.output}\n{done.exception!r}"
    return done


def check_arrived(half: Half, home: Home, uri: str, url: str) -> None:
    """Compare both places as their own clients show them."""
    old = database_uri(half.home)
    ids = mapping(old, uri, NAME)
    assert in_mlflow(uri, NAME) == in_mlflow(old, NAME, ids)
    assert in_registry(uri, NAME) == in_registry(old, NAME, ids)
    assert in_registry(uri, NAME)["versions"].keys() == {1, 3}
    assert in_ledger(home, NAME, url=url) == in_ledger(half.home, NAME, ids)
    assert in_optuna(url, NAME) == in_optuna(local_url(half.home), NAME, ids)
    assert {trial["state"].name for trial in in_optuna(url, NAME)} == {"COMPLETE", "FAIL", "WAITING"}
    with Ledger(url) as ledger, Ledger.local(half.home) as old_ledger:
        assert ledger.definition(NAME) == old_ledger.definition(NAME)
        place, old_place = ledger.place(NAME), old_ledger.place(NAME)
    assert place is not None and old_place is not None
    assert place == (ids.experiments[old_place[0]], ids.runs[old_place[1]])
    assert read_study(uri, NAME).run_id == place[1]
    note = MlflowClient(uri).get_experiment(place[0]).tags["mlflow.note.content"]
    assert f"#/experiments/{place[0]}/runs/{place[1]}" in note
