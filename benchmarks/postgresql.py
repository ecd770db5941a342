"""A PostgreSQL server of our own for as long as a benchmark takes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 60.0


def program(name: str) -> str:
    """Find one of PostgreSQL's programs, also where Debian hides them."""
    places = [*os.environ["PATH"].split(os.pathsep), *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise SystemExit(f"no {name} of PostgreSQL here: apt-get install postgresql")
    return found


def server_version() -> str:
    """Return the version of the server that is installed."""
    return subprocess.run(
        [program("postgres"), "--version"], check=True, capture_output=True, text=True
    ).stdout.split()[2]


@contextmanager
def temporary_server(max_connections: int) -> Iterator[str]:
    """Yield the URL of an empty database; as it comes from the box, so each commit is flushed to the disk."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path has at most 107 characters
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    if user:
        shutil.chown(folder, user)
    data, log = folder / "data", folder / "log"
    make = [program("initdb"), "-D", str(data), "-U", "tracker", "-A", "trust"]
    subprocess.run(make, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)
    serve = [program("postgres"), "-D", str(data), "-k", str(folder), "-N", str(max_connections)]
    with log.open("wb") as errors:
        server = subprocess.Popen([*serve, "-c", "listen_addresses="], user=user, cwd=folder, stderr=errors)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (folder / ".s.PGSQL.5432").exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"PostgreSQL does not start:\n{log.read_text()}")
            time.sleep(0.05)
        yield f"postgresql+psycopg://tracker@/postgres?host={folder}"
    finally:
        server.send_signal(signal.SIGINT)  # SIGTERM would wait for its clients
        server.wait(30)
        shutil.rmtree(folder)
