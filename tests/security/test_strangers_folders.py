"""A folder that somebody else made: a data set, a bundle, a home. To work in it runs nothing that lies in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tracker.tracking.environment import git_state

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    """Run git with none of this user's settings."""
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who = ("-c", "user.name=a", "-c", "user.email=a@b.invalid")
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository that names a program wherever git runs one when it is asked for its state; each leaves a mark."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "file").write_text("a\n")
    git(folder, "add", "file")
    git(folder, "commit", "--quiet", "--message", "a")

    def leave(mark: str) -> str:
        return f"sh -c 'touch {tmp_path}/owned-{mark}; cat'"

    git(folder, "config", "core.fsmonitor", leave("fsmonitor"))
    git(folder, "config", "filter.evil.clean", leave("clean"))
    git(folder, "config", "filter.evil.required", "true")
    git(folder, "config", "filter.a=b.c.process", leave("process"))
    included = folder / "more"
    included.write_text(f'[filter "hidden"]\n\tclean = "{leave("included")}"\n')
    git(folder, "config", "include.path", str(included))
    (folder / ".git" / "info" / "attributes").write_text("file filter=evil\nother filter=hidden\n")
    hook = folder / ".git" / "hooks" / "post-index-change"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/owned-hook\n")
    hook.chmod(0o755)
    os.utime(folder / "file", (1, 1))  # git has to look into the file again
    return folder


@needs_git
def test_the_repository_is_hostile(repository: Path) -> None:
    """Asked for its state in the usual way, git runs what the repository names."""
    git(repository, "status", "--porcelain")
    marks = {path.name for path in repository.parent.glob("owned-*")}
    assert {"owned-fsmonitor", "owned-clean"} <= marks


@needs_git
def test_a_repository_runs_nothing(repository: Path) -> None:
    """The commit and whether there are changes are told, and no program of the repository is run."""
    commit = git(repository, "-c", "core.fsmonitor=false", "rev-parse", "HEAD")
    assert git_state(repository) == (commit, False)
    (repository / "file").write_text("b\n")
    assert git_state(repository) == (commit, True)
    assert list(repository.parent.glob("owned-*")) == []


def test_the_current_folder_is_no_place_for_modules(tmp_path: Path) -> None:
    """What is started from a command, as workers and the server are, imports nothing from the current folder."""
    for name in ("multiprocessing", "mlflow", "torch", "random"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')\n")
    worker = ("-c", "from multiprocessing.spawn import spawn_main; import random")
    program = (
        "import contextlib, subprocess, sys\n"
        "from tracker.cli.main import main\n"
        f"sys.argv = ['tracker', 'server', 'status', '--home', {str(tmp_path / 'home')!r}]\n"
        "with contextlib.suppress(SystemExit):\n    main()\n"
        f"for child in ({worker!r}, ('-m', 'random')):\n"
        "    subprocess.run([sys.executable, *child], check=True, stdout=subprocess.DEVNULL)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    subprocess.run([sys.executable, *worker], cwd=tmp_path, env=environment, check=False, capture_output=True)
    assert (tmp_path / "owned").exists(), "the attack works where nothing is done against it"
    (tmp_path / "owned").unlink()
    subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        timeout=100,
    )
    assert not (tmp_path / "owned").exists()
