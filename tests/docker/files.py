"""The files of docker/ as Docker reads them: the compose file resolved, and what each service of ours runs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = DOCKER / "Dockerfile"
COMPOSE = DOCKER / "compose.yaml"

VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}")
"""The forms of interpolation that our files use."""


def settings() -> dict[str, str]:
    """Return the variables of docker/.env."""
    lines = (DOCKER / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def compose(variables: dict[str, str] | None = None) -> dict[str, Any]:
    """Return compose.yaml with merges done and variables put in.

    Args:
        variables: None for those of docker/.env; {} for the defaults that stand in the file.
    """
    given = settings() if variables is None else variables

    def put_in(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: put_in(value) for key, value in node.items()}
        if isinstance(node, list):
            return [put_in(value) for value in node]
        if not isinstance(node, str):
            return node
        done = VARIABLE.sub(lambda found: given.get(found["name"]) or found["default"] or "", node)
        assert "$" not in done, f"{node}: a form of interpolation that the tests do not know"
        return done

    document: dict[str, Any] = put_in(yaml.safe_load(COMPOSE.read_text(encoding="utf-8")))
    return document


@dataclass
class Stage:
    """One stage of the Dockerfile, with what it inherits."""

    base: str
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "root"
    folder: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] | None = None
    instructions: list[tuple[str, str]] = field(default_factory=list)


def stages() -> dict[str, Stage]:
    """Read the Dockerfile: its stages by name, in their order."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found: dict[str, Stage] = {}
    stage = Stage("")
    for line in text.replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            inherited = found.get(base)
            stage = found[name] = (
                Stage(
                    base,
                    dict(inherited.environment),
                    *(inherited.user, inherited.folder, list(inherited.entrypoint), list(inherited.command)),
                    inherited.health,
                )
                if inherited
                else Stage(base)
            )
        elif word == "ENV":
            stage.environment |= dict(pair.split("=", 1) for pair in rest.split())
        elif word == "USER":
            stage.user = rest
        elif word == "WORKDIR":
            stage.folder = rest
        elif word == "ENTRYPOINT":
            stage.entrypoint, stage.command = json.loads(rest), []
        elif word == "CMD":
            stage.command = json.loads(rest)
        elif word == "HEALTHCHECK":
            stage.health = None if rest == "NONE" else json.loads(rest.partition("CMD")[2])
        if word:
            stage.instructions.append((word, rest))
    return found


@dataclass(frozen=True)
class Service:
    """A service of our image, as the process that its container is.

    Args:
        environment: the image's, and on top of it the service's.
        health: the command of its health check, None without one.
    """

    name: str
    argv: list[str]
    environment: dict[str, str]
    folder: str
    secrets: list[str]
    health: list[str] | None


def our_services(variables: dict[str, str] | None = None) -> dict[str, Service]:
    """Return the services that run our image, by name."""
    known = stages()
    found = {}
    for name, service in compose(variables)["services"].items():
        if "build" not in service:
            continue
        stage = known[service["build"]["target"]]
        check = service.get("healthcheck", {}).get("test")
        found[name] = Service(
            name=name,
            argv=[*service.get("entrypoint", stage.entrypoint), *service.get("command", stage.command)],
            environment=stage.environment | service.get("environment", {}),
            folder=stage.folder,
            secrets=service.get("secrets", []),
            health=check[1:] if check else stage.health,
        )
    return found
