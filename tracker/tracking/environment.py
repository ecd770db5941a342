"""Where a run was made: code, versions, machine."""

from __future__ import annotations

import getpass
import os
import platform
import re
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("norm-tracker", "torch", "torchvision", "mlflow", "optuna")

STATUS = ("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
SETTINGS = {"core.fsmonitor": "false", "core.hooksPath": os.devnull}
FILTER = re.compile(r"filter\.[^\n]*\.(clean|smudge|process|required)")
"""Settings of a repository that name a program to put files through, or say that it must be run."""


@cache
def _tags() -> tuple[tuple[str, str], ...]:
    tags = {
        "version.python": platform.python_version(),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "mlflow.source.name": "tracker",
        "mlflow.source.type": "LOCAL",
    }
    with suppress(OSError, KeyError, ImportError):  # a container's user id may have no name
        tags["mlflow.user"] = getpass.getuser()
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            tags[f"version.{package}"] = version(package)
    for folder in (Path(__file__).resolve().parent, Path.cwd()):
        if found := git_state(folder):
            commit, dirty = found
            tags["git.commit"] = tags["mlflow.source.git.commit"] = commit
            tags["git.dirty"] = str(dirty).lower()
            break
    return tuple(tags.items())


def environment_tags() -> dict[str, str]:
    """Return tags with the git commit, the versions and the machine; looked up once a process.

    The commit is that of the program's own checkout, else that of the current folder.
    """
    return dict(_tags())


def git_state(folder: Path) -> tuple[str, bool] | None:
    """Return the commit of the repository that `folder` is in and whether it has changes; None without git.

    The repository may have come with somebody else's files: no program that it names is run.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    named = _git(folder, "config", "--includes", "--null", "--name-only", "--list")
    if commit is None or named is None:
        return None
    filters = {name: "" for name in named.split("\0") if FILTER.fullmatch(name)}
    changes = _git(folder, *STATUS, settings=filters | SETTINGS)
    return None if changes is None else (commit, changes != "")


def _git(folder: Path, *arguments: str, settings: Mapping[str, str] | None = None) -> str | None:
    """Return what git prints.

    Args:
        settings: they go before those of the repository.
    """
    variables = {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none", "GIT_OPTIONAL_LOCKS": "0"}
    for number, (name, value) in enumerate((settings or {}).items()):
        variables |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    variables["GIT_CONFIG_COUNT"] = str(len(settings or {}))
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, env={**os.environ, **variables})
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
