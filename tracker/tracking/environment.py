"""Where a run was made: code, versions, machine."""

from __future__ import annotations

import getpass
import platform
import socket
import subprocess
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("norm-tracker", "torch", "torchvision", "mlflow", "optuna")


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
    """Return the commit of the repository that `folder` is in and whether it has changes; None without git."""
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return (commit, changes != "") if commit is not None and changes is not None else None


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
