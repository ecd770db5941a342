"""Connections to a database server: few, bounded in what they wait for, and made anew when they were cut."""

from __future__ import annotations

import time

import pytest

from tests.ledger.conftest import METRICS, MakeStudy, claimed, statement
from tracker.ledger import leases
from tracker.ledger.database import Database
from tracker.ledger.ledger import Ledger
from tracker.study.errors import LeaseLost, LedgerError

OF_LEDGER = "FROM pg_stat_activity WHERE application_name = 'tracker' AND datname = current_database()"


def connections(url: str) -> int:
    """Count the connections that ledgers have to this database."""
    ((count,),) = statement(url, f"SELECT count(*) {OF_LEDGER}")
    assert isinstance(count, int)
    return count


def cut_connections(url: str) -> int:
    """Let the server drop the connections of all ledgers, as at a restart; return how many."""
    return len(statement(url, f"SELECT pg_terminate_backend(pid, 5000) {OF_LEDGER}"))


@pytest.mark.parametrize(
    "secret", ["//me:secret@127.0.0.1:1/x", "//me@127.0.0.1:1/x?password=secret&sslpassword=secret"]
)
def test_a_server_that_cannot_be_reached_is_named_without_the_password(secret: str) -> None:
    """The error names user, host and database, and never the password, wherever the URL has it."""
    pytest.importorskip("psycopg", reason="no PostgreSQL driver")
    with pytest.raises(LedgerError, match=r"postgresql\+psycopg://me(:\*\*\*)?@127\.0\.0\.1:1/x: .*refused") as caught:
        Ledger(f"postgresql+psycopg:{secret}")
    assert "secret" not in str(caught.value)
    assert caught.value.cure is not None


def test_connections_that_were_cut_are_made_anew(server_url: str, make_study: MakeStudy) -> None:
    """After the server has dropped all connections, idle ones are replaced and nobody notices."""
    with Ledger(server_url) as ledger:
        ledger.enroll(make_study())
        claim = claimed(ledger)
        assert cut_connections(server_url) >= 1
        ledger.leases.renew(claim)
        cut_connections(server_url)
        ledger.leases.complete(claim, METRICS, "run", 1.0)
        assert ledger.counts("small").complete == 1


def test_a_connection_cut_in_a_transaction_is_an_error_and_heals(
    server_url: str, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was in progress is undone and raised as the ledger's error; the next call works."""
    with Ledger(server_url) as ledger:
        ledger.enroll(make_study())
        claim = claimed(ledger)
        with monkeypatch.context() as patched:
            patched.setattr(leases, "reach", lambda _: cut_connections(server_url))
            with pytest.raises(LedgerError, match="postgresql") as caught:
                ledger.leases.complete(claim, METRICS, "run", 1.0)
        assert not isinstance(caught.value, LeaseLost)
        assert ledger.counts("small").running == 1
        ledger.leases.complete(claim, METRICS, "run", 1.0)
        assert ledger.mend("small") == []


def test_a_worker_holds_few_connections(server_url: str) -> None:
    """A thread that renews and one that settles need two connections, one of which is kept."""
    with Ledger(server_url, lock_seconds=0.2) as ledger:
        opened = ledger._database
        with opened.reading(), opened.reading():
            assert connections(server_url) == 2
            with pytest.raises(LedgerError, match="limit of size 1 overflow 1"), opened.reading():
                pass
        deadline = time.monotonic() + 30
        while connections(server_url) != 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_lock_on_the_server_is_not_waited_for_without_end(server_url: str, make_study: MakeStudy) -> None:
    """Whoever is held up by another's transaction hears of it; a process that stopped in one loses its locks."""
    with Ledger(server_url, lock_seconds=0.5) as ledger, Ledger(server_url, lock_seconds=60) as patient:
        ledger.enroll(make_study())
        stuck = Database(server_url, lock_seconds=1.0)
        with pytest.raises(LedgerError), stuck.writing() as connection:
            stuck.lock_study(connection, "small", shared=False)
            with pytest.raises(LedgerError, match="another process has been writing"):
                ledger.leases.claim("small", "worker")
            assert patient.leases.claim("small", "worker") is not None  # the server ended the other's after 2 s
        stuck.close()
