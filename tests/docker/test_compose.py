"""Rules of compose.yaml and the secrets: what Docker's own tools would say of them, and what is safe."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import tracker
from tests.docker.files import COMPOSE, DOCKER, ROOT, compose, our_services, settings, stages

SERVICES: dict[str, dict[str, Any]] = compose()["services"]

every_service = pytest.mark.parametrize("name", sorted(SERVICES))


def test_every_service_is_looked_at() -> None:
    """The tests below see the two services of the default profile, the six of the team's, and the backup."""
    profiles = {name: service["profiles"] for name, service in SERVICES.items()}
    assert sorted(name for name, of in profiles.items() if of == ["default"]) == ["mlflow", "worker"]
    team = ["dashboard", "mlflow-team", "postgres", "s3", "s3-bucket", "workers"]
    assert sorted(name for name, of in profiles.items() if of == ["team"]) == team
    assert sorted(name for name, of in profiles.items() if of == ["backup"]) == ["backup"]
    assert len(profiles) == 9
    assert settings()["COMPOSE_PROFILES"] == "default"


@pytest.fixture(scope="module")
def specification() -> Draft202012Validator:
    """The schema of the compose specification, as the package check-jsonschema keeps it up to date."""
    schema = json.loads((files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json").read_text())
    assert {"service", "healthcheck", "deployment"} <= set(schema["$defs"])
    return Draft202012Validator(schema)


@pytest.mark.parametrize("variables", [None, {}], ids=["docker/.env", "no .env"])
def test_the_compose_file_follows_the_specification(
    variables: dict[str, str] | None, specification: Draft202012Validator
) -> None:
    """compose.yaml, its variables put in, is valid by the schema of the compose specification."""
    assert [error.message for error in specification.iter_errors(compose(variables))] == []


@pytest.mark.parametrize(("key", "value"), [("restarts", "no"), ("healthcheck", {"test": 5}), ("mem_limit", [])])
def test_the_schema_check_can_fail(key: str, value: object, specification: Draft202012Validator) -> None:
    """A key that the specification does not have is found, and a value of the wrong kind."""
    wrong = compose()
    wrong["services"]["mlflow"][key] = value
    assert not specification.is_valid(wrong)


def test_every_variable_is_explained() -> None:
    """docker/.env sets every variable of the compose file but the images, to what stands there as default."""
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE.read_text()))
    assert set(defaults) - {"POSTGRES_IMAGE", "S3_IMAGE"} == set(settings()) - {"COMPOSE_PROFILES"}
    assert {name: value for name, value in settings().items() if defaults.get(name, value) != value} == {}


@every_service
def test_images_are_pinned(name: str) -> None:
    """An image has a tag of three numbers (two where its releases have two), or a digest; never `latest`."""
    image = SERVICES[name]["image"]
    assert re.search(r":(\d+\.\d+\.\d+-|\d+\.\d+(-trixie)?$)|@sha256:", image), image


def test_our_image_bears_the_version() -> None:
    """The tags of our images and the Dockerfile's VERSION are the program's version."""
    images = {service["image"] for service in SERVICES.values() if "build" in service}
    assert images == {
        f"{image}:{tracker.__version__}-{variant}"
        for image in ("norm-tracker", "norm-tracker-server")
        for variant in ("cpu", "cuda")
    }
    assert ("ARG", f"VERSION={tracker.__version__}") in stages()["runtime"].instructions


@every_service
def test_order_is_gated_by_health(name: str) -> None:
    """What a service waits for is healthy, or is a one-shot that has ended well; and is in its profile."""
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        assert SERVICES[other]["profiles"] == SERVICES[name]["profiles"]
        if wait["condition"] == "service_healthy":
            assert SERVICES[other]["healthcheck"]["test"][0] == "CMD"
        else:
            assert wait["condition"] == "service_completed_successfully"
            assert SERVICES[other]["restart"].startswith("on-failure")


def test_whoever_uses_a_server_waits_for_it() -> None:
    """Clients of MLflow, of the databases and of the store come after them."""
    waits = {name: set(service.get("depends_on", {})) for name, service in SERVICES.items()}
    assert waits == {
        "mlflow": set(),
        "worker": {"mlflow"},
        "postgres": set(),
        "s3": set(),
        "s3-bucket": {"s3"},
        "mlflow-team": {"postgres", "s3-bucket"},
        "workers": {"mlflow-team", "postgres"},
        "dashboard": {"postgres"},
        "backup": set(),  # run by hand, while the others run
    }


@every_service
def test_what_a_service_refers_to_is_there(name: str) -> None:
    """Its secrets, networks and volumes are declared, its files exist, its secrets are made by make-secrets."""
    document, service = compose(), SERVICES[name]
    made = re.findall(r"^keep (\w+)", (DOCKER / "make-secrets").read_text(), flags=re.MULTILINE)
    for secret in service.get("secrets", []):
        assert document["secrets"][secret] == {"file": f"./secrets/{secret}"}
        assert secret in made
    assert set(service["networks"]) <= set(document["networks"])
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert (DOCKER / source).exists() if source.startswith(".") else source in document["volumes"], volume
    for variable, value in service.get("environment", {}).items():
        if value.startswith("/run/secrets/"):
            assert value.removeprefix("/run/secrets/") in service["secrets"], variable
    assert not {value for value in map(str, service.get("command", [])) if "/run/secrets/" in value} - {
        f"-s3.config=/run/secrets/{secret}" for secret in service.get("secrets", [])
    }


def test_nothing_is_declared_in_vain() -> None:
    """Every secret, network and volume of the file is used."""
    document = compose()
    used: dict[str, set[str]] = {"secrets": set(), "networks": set(), "volumes": set()}
    for service in SERVICES.values():
        used["secrets"] |= set(service.get("secrets", []))
        used["networks"] |= set(service["networks"])
        used["volumes"] |= {volume.split(":")[0] for volume in service.get("volumes", []) if volume[0] not in "./"}
    assert {kind: set(document[kind]) for kind in used} == used


@every_service
def test_no_secret_stands_in_the_file(name: str) -> None:
    """Environment and arguments hold no password: a variable that is one by its name names a file."""
    for variable, value in SERVICES[name].get("environment", {}).items():
        if re.search(r"PASSWORD|SECRET|TOKEN|CREDENTIAL|ACCESS_KEY|STORE_URI|STORAGE", variable):
            assert variable.endswith("_FILE"), variable
            assert value.startswith("/run/secrets/")
        assert not re.search(r"://[^/]*:[^/]*@", value), variable
    assert not re.search(r"(?i)password|secretkey|://[^/ ]*@", " ".join(SERVICES[name].get("command", [])))


@every_service
def test_a_container_can_do_little(name: str) -> None:
    """Not root, no capabilities, no new privileges, a read-only root, no host namespaces, no Docker socket."""
    service = SERVICES[name]
    user, _, group = service["user"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True
    assert any(place.split(":")[0] == "/tmp" for place in service["tmpfs"])  # noqa: S108 (the container's)
    forbidden = {"privileged", "cap_add", "pid", "ipc", "network_mode", "devices", "userns_mode", "env_file"}
    assert not forbidden & set(service)
    assert "docker.sock" not in str(service)


def test_ports_are_this_machines_only() -> None:
    """Everything is published at 127.0.0.1; the team's MLflow alone where MLFLOW_ADDRESS says."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "mlflow": ["127.0.0.1:5000:5000"],
        "mlflow-team": ["127.0.0.1:5000:5000"],
        "dashboard": ["127.0.0.1:8080:8080"],
    }
    everywhere = compose({"MLFLOW_ADDRESS": "0.0.0.0"})["services"]  # noqa: S104 (read, not bound)
    assert {name for name, service in everywhere.items() if "0.0.0.0:" in str(service.get("ports"))} == {"mlflow-team"}


def test_the_databases_and_the_store_are_reached_by_their_users_only() -> None:
    """PostgreSQL and the store are in networks without a way out, with those that need them and nobody else."""
    document = compose()
    inside = {
        network: {name for name, service in SERVICES.items() if network in service["networks"]}
        for network in ("database", "storage")
    }
    assert inside == {
        "database": {"postgres", "mlflow-team", "workers", "dashboard", "backup"},
        "storage": {"s3", "s3-bucket", "mlflow-team"},
    }
    assert all(document["networks"][network] == {"internal": True} for network in inside)


@every_service
def test_restarts_and_limits_are_set(name: str) -> None:
    """Servers come back always, workers and one-shots when they fail; memory, processes and logs are bounded."""
    service = SERVICES[name]
    long_lived = name in {"mlflow", "mlflow-team", "postgres", "s3", "dashboard"}
    by_hand = name == "backup"
    assert service["restart"] == ("unless-stopped" if long_lived else "no" if by_hand else "on-failure:5")
    limits = service["deploy"]["resources"]["limits"]
    assert {"memory", "pids"} <= set(limits)
    assert "cpus" in limits or service["cpu_shares"] < 1024
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}


def test_workers_of_a_team_have_the_gpus() -> None:
    """All GPUs of the machine are reserved for `workers`, and for nothing else."""
    reserved = {
        name: service["deploy"]["resources"]["reservations"]["devices"]
        for name, service in SERVICES.items()
        if "reservations" in service["deploy"]["resources"]
    }
    assert reserved == {"workers": [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]}
    assert SERVICES["workers"]["build"]["args"] == {"VARIANT": "cuda"}


def test_make_secrets_keeps_what_is_there(tmp_path: Path) -> None:
    """Secrets are made once, long, each its own, in a folder of the owner; a second run changes nothing."""
    folder = tmp_path / "a b" / "secrets"
    done = subprocess.run([DOCKER / "make-secrets", folder], check=True, capture_output=True, text=True)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    made = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(compose()["secrets"]) <= set(made)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o444}
    random = {name: text for name, text in made.items() if re.fullmatch(r"[0-9a-f]{48}\n", text)}
    assert len(set(random.values())) == len(random) == 7
    assert not any(text.strip() in done.stdout + done.stderr for text in random.values())
    again = subprocess.run([DOCKER / "make-secrets", folder], check=True, capture_output=True, text=True)
    assert again.stderr == ""
    assert {path.name: path.read_text() for path in folder.iterdir()} == made


def test_git_ignores_the_secrets() -> None:
    """docker/secrets/ never gets into a commit."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    done = subprocess.run(["git", "check-ignore", "docker/secrets/mlflow_secret_key"], cwd=ROOT, capture_output=True)
    assert done.returncode == 0


def test_services_of_our_image_start_the_program() -> None:
    """Every command of ours is one of `tracker`'s, but the one that makes the bucket."""
    found = {name: service.argv[:2] for name, service in our_services().items()}
    assert found == {
        "mlflow": ["tracker", "server"],
        "worker": ["tracker", "sweep"],
        "mlflow-team": ["tracker", "server"],
        "workers": ["tracker", "sweep"],
        "dashboard": ["tracker", "dashboard"],
        "s3-bucket": ["python", "/srv/make_bucket.py"],
        "backup": ["tracker", "backup"],
    }
