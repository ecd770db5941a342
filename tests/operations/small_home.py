"""A home as a sweep that is under way leaves it, made in seconds without training, and how two of them are compared."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.prepared_store import with_store
from tracker.ledger.ledger import Ledger
from tracker.ledger.rows import CellRow
from tracker.operations.writing import copy_hashed
from tracker.study.home import Home
from tracker.study.load import parse_study
from tracker.study.study import Study
from tracker.tracking.journal import FILES, SUFFIX
from tracker.tracking.server.addresses import database_uri
from tracker.tracking.writing import StudyTracking

DOCUMENT = {
    "name": "small",
    "question": "Does it come back?",
    "datasets": {"low": {"kind": "digits", "classes": [0, 1, 2], "image_size": 16}},
    "recipe": {"model": "squeezenet1_1", "dataset": "low", "source": "random", "epochs": 3},
    "baseline": "minmax",
    "axes": {"normalization": ["minmax", "instance"], "seed": [1, 2]},
}
LATER = 3 * 3600.0
"""Every file of the home is older than this: not too recent for `tracker gc`."""


@dataclass(frozen=True)
class SmallHome:
    """The home, and what is where: two cells complete, one being worked on, one waiting."""

    home: Home
    study: Study

    def rows(self) -> list[CellRow]:
        """Its cells, in the grid's order."""
        with Ledger.local(self.home) as ledger:
            return ledger.rows(self.study.name)

    @property
    def uri(self) -> str:
        """Of MLflow's file."""
        return database_uri(self.home)


def build(root: Path) -> SmallHome:
    """Make `root/mlruns`: runs as a server stores them, training state and journal of a cell whose worker died."""
    home = with_store(Home(root / "mlruns"))
    study = parse_study(DOCUMENT, file="study of a test")
    scratch = root / "scratch"
    scratch.mkdir()
    # As a server stores files, so that the home can be copied anywhere.
    MlflowClient(database_uri(home)).create_experiment(study.name, artifact_location="mlflow-artifacts:/1")
    with Ledger.local(home) as ledger:
        ledger.enroll(study)
        tracking = StudyTracking(database_uri(home), home, study)
        tracking.open()
        for number in range(2):
            claim = ledger.leases.claim("small", "gone-1")
            assert claim is not None
            cell = next(cell for cell in study.cells if cell.id == claim.cell_id)
            run = tracking.cell_run(cell, claim.run_key, token=claim.token)
            for epoch in range(3):
                run.log_epoch(epoch, {"test_acc": 0.5 + 0.1 * number + epoch / 100, "train_loss": 1 / (epoch + 1)})
            for name, content in (("checkpoint/best.safetensors", os.urandom(5000)), ("notes/traceback.txt", b"x")):
                file = scratch / Path(name).name
                file.write_bytes(content)
                run.log_file(file, name.split("/")[0])
            metrics = {"best_acc": 0.6 + 0.1 * number, "last_acc": 0.6}
            run.log_metrics(metrics)
            assert run.finish("FINISHED")
            ledger.leases.complete(claim, metrics, run.run_id, 1.0)
        claim = ledger.leases.claim("small", "gone-1")
        assert claim is not None
        cell = next(cell for cell in study.cells if cell.id == claim.cell_id)
        run = tracking.cell_run(cell, claim.run_key, token=claim.token)
        run.log_epoch(0, {"test_acc": 0.4})
        ledger.leases.renew(claim, last_epoch=0)
        place = home.make(home.work / claim.run_key)
        (place / "state-000001-000000-0123456789abcdef.safetensors").write_bytes(os.urandom(3000))
        (place / "best-000000-0123456789abcdef.safetensors").write_bytes(os.urandom(2000))
        run._journal.close()  # it stays, unfinished, as after a kill
        tracking.finish("FINISHED")
    _the_rest(home, claim.run_key)
    for path in home.root.rglob("*"):
        os.utime(path, (time.time() - LATER, time.time() - LATER))
    return SmallHome(home, study)


def _the_rest(home: Home, key: str) -> None:
    """Add everything else a home may have."""
    files = {
        f"journal/{key}{FILES}/0/kept.bin": b"kept until it is sent",
        "journal/study-small.users": b"",
        "sources/abc.safetensors": b"a source",
        "cache/predictions.npz": b"made again",
        "data/packed/low-0123456789ab/train_images.npy": b"packed",
        "weights/resnet18.pth": b"fetched",
        "server/server.json": b"{}",
        "server/server.log": b"words",
        "server/users.lock": b"",
        "work/.state-1.safetensors.01234567.tmp": b"half",
        "trials.db.0001.backup": b"as it was",
    }
    for name, content in files.items():
        path = home.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert (home.journal / f"{key}{SUFFIX}").exists()
    with closing(sqlite3.connect(home.root / "basic_auth.db")) as accounts, accounts:
        accounts.execute("CREATE TABLE users (name TEXT)")
        accounts.execute("INSERT INTO users VALUES ('admin')")
    (home.root / "basic_auth.db").chmod(0o600)


def dump(database: Path, without: str = "") -> list[str]:
    """Return every row of every table of a SQLite file, as SQL."""
    with closing(sqlite3.connect(database)) as opened:
        return [line for line in opened.iterdump() if not without or without not in line]


def files_of(home: Home, *folders: str) -> dict[str, bytes]:
    """Return the content of each file in some folders of a home."""
    paths = [path for folder in folders for path in sorted((home.root / folder).rglob("*")) if path.is_file()]
    return {path.relative_to(home.root).as_posix(): path.read_bytes() for path in paths}


def in_child(act: Callable[[], object]) -> int:
    """Run a function in a process of its own, forked from this one; return its exit code, negative for a signal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later: other threads are not copied
        child = os.fork()
    if child == 0:
        code = 1
        try:
            act()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed(act: Callable[[], object], nth: int | None) -> int:
    """Run a backup or restore that kills itself at its n-th file; None: just before what it made gets its name."""

    def deadly(*arguments: object) -> object:
        nonlocal reached
        reached += 1
        if nth is None or reached == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return copy_hashed(*arguments)  # type: ignore[arg-type]

    def act_deadly() -> None:
        with pytest.MonkeyPatch.context() as patch:
            if nth is None:
                patch.setattr(os, "sync", deadly)
            else:
                patch.setattr("tracker.operations.writing.copy_hashed", deadly)
                patch.setattr("tracker.operations.restoring.copy_hashed", deadly)
            act()

    reached = 0
    return in_child(act_deadly)
