"""A service of docker/compose.yaml as the process that it is in its container: same arguments, same environment."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.docker.files import DOCKER, Service

WAIT_SECONDS = 240


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@dataclass
class Stage:
    """A folder that stands for the containers, and all that is put in for what a container has.

    Args:
        folder: empty; gets `volume`, `backups`, `secrets`, `srv`, `tmp` and a log for each service.
        elsewhere: addresses of other services' containers, as the environment names them, and what is there instead.
        programs: where PostgreSQL's are, which the image has on its PATH.
    """

    folder: Path
    elsewhere: dict[str, str] = field(default_factory=dict)
    programs: Path | None = None
    port: int = field(default_factory=free_port)
    log: str = ""

    def __post_init__(self) -> None:
        for name in ("volume", "backups", "tmp", "srv"):
            (self.folder / name).mkdir()
        subprocess.run([DOCKER / "make-secrets", self.folder / "secrets"], check=True, capture_output=True)

    @property
    def places(self) -> dict[str, str]:
        """The one mapping: what begins like this in a container, and what it is here."""
        return {
            "/var/lib/tracker": str(self.folder / "volume"),
            "/var/backups/tracker": str(self.folder / "backups"),
            "/run/secrets": str(self.folder / "secrets"),
            "/tmp": str(self.folder / "tmp"),  # noqa: S108 (the container's)
            "/opt/tracker/bin:${PATH}": f"{Path(sys.executable).parent}:{self.programs or ''}:{os.environ['PATH']}",
            "/srv/tracker": str(self.folder / "srv"),
            "/srv/make_bucket.py": str(DOCKER / "make_bucket.py"),
            "http://mlflow:5000": f"http://localhost:{self.port}",
            "5000": str(self.port),
            **self.elsewhere,
        }

    def here(self, text: str) -> str:
        """Put in what stands for a container's path, address or port."""
        for there, instead in self.places.items():
            if text == there or (there.startswith(("/", "http")) and text.startswith(f"{there}/")):
                return instead + text.removeprefix(there)
        return text

    def secret(self, name: str) -> str:
        """Return a secret."""
        return (self.folder / "secrets" / name).read_text().strip()

    def secrets(self) -> list[str]:
        """Return what nobody may see: every random value but the store's access key, which is a name."""
        files = [path for path in (self.folder / "secrets").iterdir() if path.name != "s3_access_key"]
        random = [value for value in (path.read_text().strip() for path in files) if len(value) == 48]
        assert len(random) == 6
        return random

    def environment(self, service: Service) -> dict[str, str]:
        """Return the environment of a service, and of this machine nothing but how many threads there may be."""
        return {name: self.here(value) for name, value in service.environment.items()} | {"OMP_NUM_THREADS": "1"}

    @contextmanager
    def running(self, service: Service) -> Iterator[subprocess.Popen[str]]:
        """Run a service; what it prints, and what its secrets are not seen in, is gathered when it ends."""
        for name in service.secrets:
            assert (self.folder / "secrets" / name).exists()
        path = self.folder / f"{service.name}.log"
        environment = self.environment(service)
        program = self.program(service, environment)
        with path.open("w") as log:
            process = subprocess.Popen(
                [program, *map(self.here, service.argv[1:])],
                cwd=self.here(service.folder),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            left = [process.pid, *(child.pid for child in children(process))]
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pid in left[1:]:
                if psutil.pid_exists(pid):
                    psutil.Process(pid).kill()
            self.log = path.read_text()

    @staticmethod
    def program(service: Service, environment: Mapping[str, str]) -> str:
        """Find the entry point where the container's PATH leads."""
        folder = Path(environment["PATH"].split(":")[0])
        assert (folder / service.argv[0]).exists(), f"no {service.argv[0]} in {folder}"
        return str(folder / service.argv[0])

    def healthy(self, service: Service, process: subprocess.Popen[str]) -> None:
        """Run a service's own health check until it passes, as Docker does."""
        assert service.health is not None
        deadline = time.monotonic() + WAIT_SECONDS
        environment = self.environment(service)
        while time.monotonic() < deadline and process.poll() is None:
            command = [self.program(service, environment), *map(self.here, service.health[1:])]
            if subprocess.run(command, env=environment, capture_output=True, timeout=60).returncode == 0:
                return
            time.sleep(0.2)
        log = (self.folder / f"{service.name}.log").read_text()
        raise AssertionError(f"{service.name} is not healthy; exit code {process.poll()}:\n{log}")

    def ends(self, process: subprocess.Popen[str]) -> int:
        """Wait for the end of a one-shot and return its exit code; all the while look at the process list."""
        looked = 0
        deadline = time.monotonic() + WAIT_SECONDS
        while process.poll() is None:
            assert time.monotonic() < deadline, "it does not end"
            looked += self.see_no_secrets()
            time.sleep(0.5)
        assert looked > 0, "none of our processes was seen"
        return process.returncode

    def see_no_secrets(self) -> int:
        """Look for secrets where every user of the machine can look, the arguments of all processes; say how many of
        ours there were: none in the moment before a program's first instruction."""
        hidden = [value.encode() for value in self.secrets()]
        seen = 0
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                arguments = path.read_bytes()
            except OSError:
                continue
            seen += str(self.folder).encode() in arguments or b"mlflow" in arguments
            assert not [value for value in hidden if value in arguments], f"a secret is an argument: {path}"
        return seen


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return all processes below one."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
