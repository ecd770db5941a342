"""Whoever makes an experiment says where its files are: other servers and folders of this machine are not used.

The attack: anybody who reaches a team's MLflow makes the experiment `norm-test` with an
`artifact_location` of their own choice, and waits for a worker to join it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from tests.security.stranger import Stranger, a_run, an_experiment
from tracker.study.errors import TrackingError
from tracker.study.home import Home
from tracker.tracking.artifacts import FOLDER_VARIABLE, repository
from tracker.tracking.attaching import attach_files
from tracker.tracking.delivery import Delivery, Refused
from tracker.tracking.events import File, Open
from tracker.tracking.files import read_files
from tracker.tracking.registry import fetch_registered
from tracker.tracking.states import StateExchange, fetch_source

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
EVIL = "/var/tmp/evil-of-a-listing"  # noqa: S108 (nothing is written there)
SECRET = "s3cret-of-a-colleague"  # noqa: S105 (of nobody)


def serve_run(server: Stranger, artifact_uri: str) -> None:
    """Let the server have a study `x` with one run, whose files are somewhere."""
    run = a_run(artifact_uri)
    server.answers |= {
        f"{API}/experiments/get-by-name": {"experiment": an_experiment("x")},
        f"{API}/experiments/search": {"experiments": [an_experiment("x")]},
        f"{API}/runs/search": {"runs": [run]},
        f"{API}/runs/get": {"run": run},
        f"{API}/runs/update": {"run_info": run["info"]},
        f"{API}/runs/log-batch": {},
    }


def test_mlflow_itself_hands_credentials_to_any_server(
    thief: Stranger, monkeypatch: pytest.MonkeyPatch, server: Stranger
) -> None:
    """The attack works against MLflow's own client, so the tests below do not look for something that cannot be."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
    thief.answers[ARTIFACTS] = {"files": []}
    get_artifact_repository(f"{thief.uri}{ARTIFACTS}", tracking_uri=server.uri).list_artifacts()
    assert any(SECRET in str(headers) for _, headers in thief.asked)


@pytest.mark.parametrize(
    "place",
    [
        "http://{thief}/api/2.0/mlflow-artifacts/artifacts/1",
        "https://{thief}/api/2.0/mlflow-artifacts/artifacts/1",
        "mlflow-artifacts://{thief}/1",
        "https://{server}/1",
        "http://{server}@{thief}/1",
        "http://{server}\\@{thief}/1",
        "http://{server}\t@{thief}/1",
        "http://{server}.evil.example/1",
        "http:///1",
        "runs:/0123/model",
        "models:/x/1",
        "ftp://{thief}/1",
        "sftp://{thief}/1",
        "file://{thief}/etc",
        "FILE:///etc",
        "file:///etc",
        "/etc",
        "etc",
        "",
    ],
)
def test_other_places_are_refused(
    place: str, server: Stranger, thief: Stranger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another server, another protocol, a folder of this machine: refused by name, and no other server is asked."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
    monkeypatch.chdir(tmp_path)
    where = place.format(server=server.host, thief=thief.host)
    with pytest.raises(TrackingError, match="which is not used"):
        repository(server.uri, where)
    serve_run(server, where)
    with pytest.raises(TrackingError, match="which is not used"):
        read_files(server.uri, [("0" * 32, where)], "predictions/best.npz")
    assert thief.asked == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["mlflow-artifacts:/1/a", "mlflow-artifacts://{server}/1", "http://{server}/x/1"])
def test_the_server_itself_is_used(place: str, server: Stranger) -> None:
    """A server that keeps the files of its runs is asked for them, also one that takes a password in its address."""
    for uri in (server.uri, f"http://user:{SECRET}@{server.host}"):
        repository(uri, place.format(server=server.host))


def test_buckets_are_used(server: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket of an object store is used: it has credentials of its own, which it checks itself."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert repository(server.uri, "s3://bucket/1/a/artifacts").artifact_uri == "s3://bucket/1/a/artifacts"


def test_a_shared_folder_is_named_by_the_user(
    server: Stranger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A folder that server and worker share is used once the user has named it; what is beside it never is."""
    shared, beside = tmp_path / "shared", tmp_path / "shared-not"
    monkeypatch.setenv(FOLDER_VARIABLE, str(shared))
    repository(server.uri, (shared / "1" / "a").as_uri())
    shared.mkdir()
    (shared / "out").symlink_to(tmp_path)
    for place in (beside.as_uri(), f"{shared.as_uri()}/../x", f"{shared.as_uri()}/%2e%2e/x", f"{shared}/out/x"):
        with pytest.raises(TrackingError, match="which is not used"):
            repository(server.uri, place)


def test_served_files_of_a_home_lie_in_it(home: Home) -> None:
    """Files that a home's server has kept are looked for in the home without it, and nowhere else."""
    uri = f"sqlite:///{home.tracking_db}"
    assert Path(repository(uri, "mlflow-artifacts:/1/a").artifact_dir) == home.artifacts / "1" / "a"
    for place in ("mlflow-artifacts:/../../x", "mlflow-artifacts:/../tracking.db", "mlflow-artifacts:/1/../../../x"):
        with pytest.raises(TrackingError, match="which is not used"):
            repository(uri, place)


def test_a_worker_writes_and_removes_nothing_there(server: Stranger, tmp_path: Path, home: Home) -> None:
    """States, files and reports are not written into a folder that an experiment names, and none is removed from it."""
    victim = tmp_path / "victim"
    (victim / "state").mkdir(parents=True)
    (victim / "state" / "letter").write_text("dear")
    file = tmp_path / "a.txt"
    file.write_text("x")
    serve_run(server, victim.as_uri())
    exchange = StateExchange(server.uri, "x", "key")
    assert exchange.store([file]) is False and exchange.drop() is False and exchange.fetch(tmp_path / "to") == []
    with pytest.raises(TrackingError):
        attach_files(server.uri, "0" * 32, [file], tmp_path, "report")
    delivery = Delivery(server.uri, tmp_path)
    delivery.deliver([Open("key", "local", "x", "a", 1)])
    with pytest.raises(Refused, match="which is not used"):
        delivery.deliver([File("a.txt", "")])
    assert sorted(path.name for path in victim.rglob("*")) == ["letter", "state"]


@pytest.mark.parametrize("name", ["../../evil", EVIL, "..", "a/../../evil", "%2e%2e/%2e%2e/evil", "..\\..\\evil"])
def test_a_listing_leads_nowhere_else(name: str, server: Stranger, tmp_path: Path) -> None:
    """A server that lists names with `..`, or absolute ones, gets no file written outside the folder asked for."""
    listing = {"files": [{"path": name, "is_dir": False, "file_size": 1}]}
    server.answers |= {
        ARTIFACTS: listing,
        f"{ARTIFACTS}/1": listing,
        f"{API}/registered-models/alias": {"model_version": {"name": "x", "version": "1", "source": "models:/m-1"}},
        f"{API}/logged-models/m-1": {
            "model": {"info": {"model_id": "m-1", "artifact_uri": "mlflow-artifacts:/1", "experiment_id": "1"}}
        },
    }
    serve_run(server, "mlflow-artifacts:/1")
    inside = tmp_path / "a" / "b" / "inside"
    inside.mkdir(parents=True)
    before = set(tmp_path.rglob("*"))
    for attempt in (
        lambda: fetch_registered(server.uri, "models:/x@champion", inside),
        lambda: StateExchange(server.uri, "x", "key").fetch(inside),
        lambda: fetch_source(server.uri, "0123", inside / "a.safetensors"),
    ):
        try:
            attempt()
        except TrackingError:
            continue
    outside = {path for path in tmp_path.rglob("*") if inside not in path.parents} - before
    assert outside == set() and not Path(EVIL).exists()
    assert ARTIFACTS in server.paths(), "the listing was asked for"


def test_a_journal_sends_its_own_files_alone(server: Stranger, tmp_path: Path) -> None:
    """A journal that came with somebody else's home names a private key: it is not uploaded."""
    own = tmp_path / "run.files"
    (own / "0").mkdir(parents=True)
    key = tmp_path / "id_rsa"
    key.write_text(SECRET)
    (own / "0" / "link").symlink_to(key)
    serve_run(server, "mlflow-artifacts:/1")
    delivery = Delivery(server.uri, own)
    delivery.deliver([Open("key", "local", "x", "a", 1)])
    for path in (str(key), "../id_rsa", "0/link"):
        with pytest.raises(Refused, match="not one of the journal's own files"):
            delivery.deliver([File(path, "")])
    assert not any(path.startswith(ARTIFACTS) for path in server.paths())
