"""Empty databases, made once for all tests: making one waits for the disk, MLflow's for seconds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from tracker.ledger.ledger import Ledger
from tracker.study.home import Home
from tracker.tracking.client import talking_to
from tracker.tracking.server.addresses import database_uri


def with_store(home: Home) -> Home:
    """Make a home whose MLflow file has its tables and nothing in them, as MLflow leaves a new one."""
    home.make(home.root)
    shutil.copyfile(_prepared("tracking", _make_store).tracking_db, home.tracking_db)
    return home


def with_ledger(home: Home) -> Home:
    """Make a home whose trial database has its tables and nothing in them."""
    home.make(home.root)
    shutil.copyfile(_prepared("trials", lambda made: Ledger.local(made).close()).trials_db, home.trials_db)
    return home


def _prepared(name: str, make: Callable[[Home], None]) -> Home:
    """Return the home to copy from; it lies in the folder that the processes of one test run share."""
    home = Home(Path(os.environ["TRACKER_CACHE_DIR"]) / f"prepared-{name}")
    with FileLock(f"{home.root}.lock"):
        if not home.root.exists():
            begun = Home(home.root.with_name(f"{name}-begun"))
            begun.make(begun.root)
            make(begun)
            begun.root.rename(home.root)
    return home


def _make_store(home: Home) -> None:
    with talking_to(database_uri(home)) as client:
        client.search_experiments()
