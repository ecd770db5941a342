"""Opening databases: odd places, wrong files, newer schemas, busy files."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.ledger.conftest import MakeStudy, trials_of
from tracker.ledger import database
from tracker.ledger.ledger import Ledger, local_url
from tracker.study.errors import LedgerError
from tracker.study.home import Home


@pytest.mark.parametrize("name", ["with space", "{braces}", "100%", "a?b#c", "größe"])
def test_a_home_may_have_any_name(tmp_path: Path, make_study: MakeStudy, name: str) -> None:
    """Characters that mean something in a URL reach the file system as they are."""
    home = Home(tmp_path / name)
    with Ledger.local(home) as ledger:
        ledger.enroll(make_study())
        assert ledger.journal_mode == "wal"
    assert home.trials_db.is_file()
    assert len(trials_of(local_url(home))) == 4


def test_every_transaction_waits_and_takes_the_lock_first(home: Home) -> None:
    """SQLite's discipline: WAL in the file, a long patience, and the write lock taken at the beginning."""
    with Ledger.local(home), closing(sqlite3.connect(home.trials_db, timeout=0)) as other:
        opened = database.Database(local_url(home))
        with opened.writing():
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
            assert other.execute("SELECT count(*) FROM cells").fetchone() == (0,)  # readers go on
        with opened.reading() as connection:
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 30_000
            other.execute("BEGIN IMMEDIATE")  # a reader holds nobody up
        opened.close()


def test_a_busy_file_is_said_to_be_busy(home: Home, make_study: MakeStudy) -> None:
    """A file that another process keeps locked is an error with a cure, and works again afterwards."""
    with Ledger.local(home, lock_seconds=0.2) as ledger, closing(sqlite3.connect(home.trials_db)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match=r"trials\.db: another process has been writing") as caught:
            ledger.enroll(make_study())
        assert caught.value.cure is not None
        other.rollback()
        assert ledger.enroll(make_study()).new == 4


def test_another_optunas_tables_are_refused(home: Home) -> None:
    """Optuna's complaint about tables of another version names the file."""
    Ledger.local(home).close()
    with closing(sqlite3.connect(home.trials_db)) as file:
        file.execute("UPDATE alembic_version SET version_num = 'v99'")
        file.commit()
    with Ledger.local(home) as ledger, pytest.raises(LedgerError, match=r"trials\.db: .*optuna"):
        ledger.leases.claim("small", "worker")


def test_a_file_that_is_no_database_is_named(home: Home) -> None:
    """Something else in the file's place is an error that says so, and stays as it was."""
    home.make(home.root)
    home.trials_db.write_bytes(b"these are not the tables you are looking for" * 100)
    with pytest.raises(LedgerError, match=r"trials\.db: file is not a database"):
        Ledger.local(home)
    assert home.trials_db.read_bytes().startswith(b"these are not")


def test_a_place_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A file where the folder should be is an error that names the place."""
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(LedgerError, match=r"taken/trials\.db: cannot be opened"):
        Ledger(f"sqlite:///{tmp_path}/taken/trials.db")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("trials.db", "'trials.db' is not a database URL"),
        ("sqlite://", "in memory cannot be shared"),
        ("postgresql+psycopg//me:secret@localhost/x", r"'\*\*\*@localhost/x' is not a database URL"),
        ("postgresql+psycopg://me:secret@localhost:none/x", r"'\*\*\*@localhost:none/x' is not a database URL"),
        ("postgresql+psycopg://me:sec@ret@localhost/x", "more than one @"),
        ("mysql://localhost/x", "mysql is not supported"),
        ("oracle://me:secret@localhost/x", r"oracle://me:\*\*\*@localhost/x: oracle is not supported"),
        ("postgresql+nosuchdriver://localhost/x", "nosuchdriver"),
    ],
)
def test_a_url_that_cannot_serve_is_refused(url: str, problem: str) -> None:
    """Other databases, missing drivers and plain nonsense are refused, without the password."""
    with pytest.raises(LedgerError, match=problem) as caught:
        Ledger(url)
    assert not re.search("sec@?ret", str(caught.value))


def test_reading_needs_no_optuna(home: Home, make_study: MakeStudy) -> None:
    """`tracker status` reads the ledger without loading Optuna or Alembic."""
    with Ledger.local(home) as ledger:
        ledger.enroll(make_study())
    script = (
        "import sys; from pathlib import Path; from tracker.study.home import Home\n"
        "from tracker.ledger.ledger import Ledger\n"
        "with Ledger.local(Home(Path(sys.argv[1]))) as ledger:\n"
        "    print(len(ledger.rows('small')), len(ledger.studies()))\n"
        "print([name for name in ('optuna', 'alembic', 'torch', 'mlflow') if name in sys.modules])\n"
    )
    found = subprocess.run([sys.executable, "-c", script, str(home.root)], capture_output=True, text=True, check=True)
    assert found.stdout == "4 1\n[]\n"
