"""Where the commands of one page run: a folder, an environment that lasts, servers in the background."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

from tests.docs.commands import Command
from tests.docs.rules import BACKGROUND, ENDS_WITH, instead, why_not
from tests.docs.standins import make_place

SECONDS = 900
PROGRAMS = Path(sys.executable).parent
STAYS = re.compile(r"^(export|umask|cd|unset|eval|alias) ")
"""Commands after which the terminal is another."""


class Stage:
    """Run the commands of a page one after another.

    Args:
        folder: empty; everything happens there.
        database: makes a database on a PostgreSQL server and returns its URL; called only where a page needs one.
    """

    def __init__(self, folder: Path, database: Callable[[], str]) -> None:
        self.folder = folder
        self._database = database
        self._servers: list[subprocess.Popen[str]] = []
        make_place(folder)
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("TRACKER_", "MLFLOW_", "DISPLAY"))
        }
        path = f"{PROGRAMS}:{os.environ['PATH']}"
        self._environment = {**kept, "PATH": path, "HOME": str(folder), "OMP_NUM_THREADS": "1"}
        self._environment |= {"TORCH_HOME": str(folder / "torch"), "TERM": "xterm"}
        self._environment.pop("WAYLAND_DISPLAY", None)
        self.values = {"mlflow_port": str(free_port()), "serve_port": str(free_port())}

    def prepare(self, step: str) -> None:
        """Do what a page takes for done: `sweep STUDY`, `enroll STUDY`, `postgresql`, `mlflow`, `address`."""
        what, _, study = step.partition(" ")
        if what == "sweep":
            self.shell(f"tracker sweep --study {study}")
        elif what == "enroll":
            self.shell(f"tracker sweep --study {study} --enroll-only")
        elif what == "address":
            address = self.shell("tracker ui --no-open").partition("/#")[0]
            self._environment["MLFLOW_TRACKING_URI"] = address
        elif what == "postgresql":
            self.values["trials"] = self._database()
        elif what == "mlflow":
            self._start(
                f"mlflow server --workers 1 --port {self.values['mlflow_port']} --backend-store-uri sqlite:///team.db"
            )

    def run(self, command: Command) -> str:
        """Run a command as the rules say; return what was run."""
        line = command.text
        if ("--cell" in line or "RUN_ID" in line) and "cell" not in self.values:
            self.values |= self._some_cell(line)
        line = instead(command.page, line, self.values)
        if any(re.search(pattern, line) for pattern in BACKGROUND):
            self._start(line)
        else:
            codes = next((codes for pattern, codes in ENDS_WITH.items() if re.search(pattern, line)), (0,))
            self.shell(line, codes)
        return line

    def shell(self, line: str, codes: tuple[int, ...] = (0,)) -> str:
        """Run a line in bash, as in a log: without a terminal; return its stdout.

        Raises:
            AssertionError: another exit code, a traceback, or a character that no log should hold.
        """
        kept = self.folder / ".environment"
        script = f"{line}\ncode=$?\nenv -0 > {kept}\nexit $code\n" if STAYS.match(line) else line
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self._environment, text=True, capture_output=True,
            timeout=SECONDS, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        said = f"{line}\n--- stdout\n{done.stdout[-3000:]}\n--- stderr\n{done.stderr[-3000:]}"
        assert done.returncode in codes, f"exit code {done.returncode}: {said}"
        assert "Traceback" not in done.stderr, said
        if line.startswith("tracker"):
            assert not re.search(r"[\x00-\x08\x0b-\x1f]", done.stdout + done.stderr), said
        if kept.exists():
            pairs = (pair.partition("=") for pair in kept.read_text().split("\0") if pair)
            self._environment = {name: value for name, _, value in pairs}
            kept.unlink()
        return done.stdout

    def _some_cell(self, line: str) -> dict[str, str]:
        """Return the id of a cell of the study that a line names, and that of its run."""
        named = re.search(r"--study (\S+)", line)
        study = named[1] if named else "quickstart"
        document = json.loads(self.shell(f"tracker status --study {study} --format json"))
        cell = document["cells"][0]
        return {"cell": str(cell["cell_id"]), "run": str(cell["run_id"])}

    def _start(self, line: str) -> None:
        """Start a server and wait until it listens."""
        port = re.search(r"--port (\d+)", line)
        assert port is not None, line
        server = subprocess.Popen(
            ["bash", "-c", f"exec {line}"], cwd=self.folder, env=self._environment, text=True, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self._servers.append(server)
        until = time.monotonic() + SECONDS
        while True:
            try:
                with urlopen(f"http://127.0.0.1:{port[1]}/health", timeout=5):
                    return
            except OSError:
                assert server.poll() is None, f"ended with {server.returncode}: {line}"
                assert time.monotonic() < until, f"does not answer: {line}"
                time.sleep(0.3)

    def close(self) -> None:
        """End what runs in the background."""
        subprocess.run(
            ["tracker", "server", "stop"], cwd=self.folder, env=self._environment, capture_output=True, check=False
        )
        for server in self._servers:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def is_run(command: Command) -> bool:
    """Say whether a command runs in the test."""
    return why_not(command.page, command.text) is None


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
