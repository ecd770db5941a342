"""Where local state lives: one folder, by default `mlruns/` in the current folder."""

from __future__ import annotations

import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tracker.study.errors import TrackerError


@dataclass(frozen=True)
class Home:
    """The folder that holds everything the program keeps locally.

    Args:
        root: absolute path; need not exist yet.
    """

    root: Path

    @classmethod
    def find(cls, given: str | Path | None = None) -> Home:
        """Take `--home`, else the environment's TRACKER_HOME, else `./mlruns`."""
        chosen = given or os.environ.get("TRACKER_HOME") or "mlruns"
        return cls(Path(chosen).expanduser().absolute())

    @property
    def tracking_db(self) -> Path:
        """MLflow's SQLite file."""
        return self.root / "tracking.db"

    @property
    def trials_db(self) -> Path:
        """Optuna's tables and the ledger's, in one SQLite file (never MLflow's: both use Alembic)."""
        return self.root / "trials.db"

    @property
    def artifacts(self) -> Path:
        """What the MLflow server stores for runs."""
        return self.root / "artifacts"

    @property
    def data(self) -> Path:
        """Downloads, and image sets packed to uint8 arrays."""
        return self.root / "data"

    @property
    def sources(self) -> Path:
        """Checkpoints made by `tracker pretrain`."""
        return self.root / "sources"

    @property
    def weights(self) -> Path:
        """torchvision's weights, unless `--weights-dir` or torch hub's cache holds them."""
        return self.root / "weights"

    @property
    def journal(self) -> Path:
        """Results not yet acknowledged by the tracking server, one file a run."""
        return self.root / "journal"

    @property
    def work(self) -> Path:
        """Files of trials in progress, one folder a cell."""
        return self.root / "work"

    @property
    def cache(self) -> Path:
        """What can be made again at any time: predictions of runs, as a comparison last read them."""
        return self.root / "cache"

    @property
    def server(self) -> Path:
        """The local MLflow server's record, log and lock."""
        return self.root / "server"

    def make(self, folder: Path) -> Path:
        """Create one of the folders above and return it.

        Raises:
            TrackerError: it cannot be created (read-only place, a file in the way).
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrackerError(
                f"{folder}: cannot be created: {error.strerror}",
                "choose a writable place with --home DIR or TRACKER_HOME=DIR",
            ) from error
        return folder

    @contextmanager
    def scratch(self, purpose: str) -> Iterator[Path]:
        """Yield a folder under `work` that is removed with everything in it when the block ends.

        Its name says whose it is, so that one which a kill left is known as such.
        """
        prefix = f"{purpose}-{socket.gethostname()}-{os.getpid()}-"
        with tempfile.TemporaryDirectory(dir=self.make(self.work), prefix=prefix) as folder:
            yield Path(folder)


SCRATCH_NAME = re.compile(r"[a-z]+-(?P<host>.+)-(?P<pid>\d+)-[a-z0-9_]{8}")
"""How `Home.scratch` names a folder."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success flush it to disk and rename it into place.

    A reader sees the old file or the whole new one, also after a power cut; on an error the
    temporary file is removed and the old one stays.

    Writes: `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
