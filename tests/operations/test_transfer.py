"""Studies moved from one MLflow and trial database to others: everything arrives, once, and goes on there."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.operations.transfer_material import NAME, STATE, Half, in_ledger, in_mlflow, mapping
from tests.operations.transferring import ask, check_arrived
from tracker.ledger.ledger import Ledger, local_url
from tracker.ledger.transfer import holds_study
from tracker.operations.bundle import open_bundle
from tracker.operations.importing_runs import import_runs
from tracker.study.errors import TrackingError, UsageError
from tracker.study.home import Home
from tracker.tracking.artifacts import FOLDER_VARIABLE
from tracker.tracking.server import lifecycle
from tracker.tracking.server.addresses import database_uri
from tracker.tracking.transfer.histories import histories
from tracker.tracking.transfer.reading import all_runs
from tracker.vision.progress import silent


def interrupted(method: Callable[..., Any], nth: int) -> Callable[..., Any]:
    """Return a method that does what it should, and raises after its nth time."""
    calls = itertools.count(1)

    def method_that_breaks(*arguments: Any, **keywords: Any) -> Any:
        done = method(*arguments, **keywords)
        if next(calls) == nth:
            raise RuntimeError("interrupted by a test")
        return done

    return method_that_breaks


@pytest.fixture(scope="module")
def moved(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, str]]:
    """A home with a server, into which the bundle was imported: interrupted on the way, then whole."""
    home = Home(tmp_path_factory.mktemp("a 50% place") / "mlruns")
    uri = lifecycle.start(home).uri
    assert uri is not None
    # An experiment before it, so that no id is the same by chance.
    MlflowClient(uri).create_experiment("of somebody else")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MlflowClient, "log_outputs", interrupted(MlflowClient.log_outputs, 1))
        ask(home, "import-runs", str(bundle), code=1)
    assert ask(home, "import-runs", str(bundle)).stdout == f"{NAME}: 3 of 6 runs, 6 cells\n"
    yield home, uri
    lifecycle.stop(home)


def files_of(uri: str, name: str, folder: Path) -> dict[tuple[str, str], bytes]:
    """Download all artifacts of an experiment by MLflow's own client, by run name and path."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(name)
    found = {}
    for run in client.search_runs([experiment.experiment_id]):
        place = folder / run.info.run_id
        place.mkdir(parents=True)
        if client.list_artifacts(run.info.run_id):
            client.download_artifacts(run.info.run_id, "", str(place))
        for path in place.rglob("*"):
            if path.is_file():
                found[run.info.run_name, str(path.relative_to(place))] = path.read_bytes()
    return found


def test_everything_arrives_once(half: Half, moved: tuple[Home, str]) -> None:
    """Runs, histories, inputs, models, cells and trials are the same at both places, ids aside, whatever was killed."""
    home, uri = moved
    check_arrived(half, home, uri, local_url(home))


def test_histories_are_the_same_by_query_and_by_call(moved: tuple[Home, str]) -> None:
    """A home's file gives the points that the server in front of it gives, the one that is no number too."""
    home, uri = moved
    server, database = MlflowClient(uri), MlflowClient(database_uri(home))
    experiment = server.get_experiment_by_name(NAME)
    runs = list(all_runs(server, experiment.experiment_id))
    by_call = [repr(histories(server, run)) for run in runs]
    assert by_call == [repr(histories(database, run)) for run in runs]
    assert "nan" in "".join(by_call) and any(len(run.data.metrics) > 3 for run in runs)


def test_files_arrive(half: Half, moved: tuple[Home, str], tmp_path: Path) -> None:
    """Every artifact has the same bytes, whatever its name, and only the sources that the study needs come along."""
    _, uri = moved
    for name, count in ((NAME, 6), ("sources", 1)):
        there = files_of(uri, name, tmp_path / "there" / name)
        here = files_of(database_uri(half.home), name, tmp_path / "here" / name)
        assert len(there) == count
        assert there.items() <= here.items() and (name == "sources" or there == here)


def test_a_training_state_arrives(half: Half, moved: tuple[Home, str]) -> None:
    """The state of the cell that was stopped lies where a worker looks for it, and the cell can be claimed."""
    home, _ = moved
    stored = home.work / half.open_key / STATE
    assert stored.read_bytes() == (half.home.work / half.open_key / STATE).read_bytes()
    (row,) = [row for row in in_ledger(home, NAME) if row["run_key"] == half.open_key]
    assert (row["state"], row["last_epoch"], row["attempts"]) == ("WAITING", 1, 1)


def test_an_import_is_not_repeated(half: Half, bundle: Path, moved: tuple[Home, str]) -> None:
    """A second import changes nothing, not even what has gone on at the new place since."""
    home, uri = moved
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(NAME)
    run = client.search_runs([experiment.experiment_id], "attributes.status = 'KILLED' and tags.tracker.kind = 'cell'")[
        0
    ]
    client.set_tag(run.info.run_id, "went", "on")
    client.set_experiment_tag(experiment.experiment_id, "mlflow.note.content", "a new answer")
    before = in_mlflow(uri, NAME)
    done = ask(home, "import-runs", str(bundle))
    assert done.stdout == f"{NAME}: its runs were here already\n"
    assert in_mlflow(uri, NAME) == before
    client.delete_tag(run.info.run_id, "went")
    old = MlflowClient(database_uri(half.home)).get_experiment_by_name(NAME)
    note = mapping(database_uri(half.home), uri, NAME).rewrite(old.tags["mlflow.note.content"])
    client.set_experiment_tag(experiment.experiment_id, "mlflow.note.content", note)


def test_another_study_of_the_name_is_refused(half: Half, bundle: Path) -> None:
    """What is there and was not imported from this bundle is left alone, and named; the trial database too."""
    before = in_mlflow(database_uri(half.home), NAME)
    opened = open_bundle(bundle)
    with pytest.raises(TrackingError, match="has an experiment 'half' already, and it was not imported") as error:
        list(import_runs(opened, half.home, database_uri(half.home), None, silent))
    assert "mlflow experiments rename --experiment-id" in str(error.value)
    assert in_mlflow(database_uri(half.home), NAME) == before
    origin = opened.manifest.studies[NAME].origin
    with pytest.raises(UsageError, match="has a study 'half' already, and it is not what the bundle holds"):
        holds_study(local_url(half.home), NAME, origin)


def test_an_export_waits_for_workers(half: Half, tmp_path: Path) -> None:
    """A study that is being worked on is refused unless --live is given; the cell is then packed as it stands."""
    home, target = Home(tmp_path / "mlruns"), tmp_path / "bundles" / "b"
    home.make(home.root)
    for name in ("trials.db", "tracking.db"):
        shutil.copy(half.home.root / name, home.root / name)
    with Ledger.local(home) as ledger:
        assert ledger.leases.claim(NAME, "worker-at-work") is not None
    done = ask(home, "export-runs", "--all", "-o", str(target), code=1)
    assert "1 cells of half are being worked on, by worker-at-work" in str(done.exception)
    assert not target.parent.exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(half.home.artifacts))
        ask(home, "export-runs", "--all", "--live", "-o", str(target))
    assert '"state": "RUNNING"' in (target / "studies" / NAME / "ledger.json").read_text()
