"""Mend a study on the way, for a command that was asked for something else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tracker.ledger.ledger import Ledger
from tracker.ledger.rows import CellRow
from tracker.study.errors import TrackerError, TrackingError
from tracker.study.home import Home
from tracker.tracking.journal import held_journals, left_journals


def mend_quietly(study: str, ledger: Ledger, home: Home) -> Iterator[str]:
    """Yield what disagreed about a study and is mended.

    MLflow is looked at only if table or disk show a sign of a crash, and a server is started only
    if there is something to mend. A store that does not answer is named, and stops nothing.
    """
    if not shows_trouble(ledger.rows(study, in_grid=False), home):
        return
    from tracker.sweep.reconcile import reconcile  # MLflow and Optuna, two seconds of imports
    from tracker.tracking.server.addresses import reading_uri
    from tracker.tracking.server.session import tracking_session

    try:
        found = reconcile(study, ledger, home, reading_uri(home), dry_run=True)
        if found:
            with tracking_session(home) as uri:
                found = reconcile(study, ledger, home, uri)
        yield from (f"mended: {sentence}" for sentence in found)
    except TrackingError as error:
        yield f"MLflow was not looked at: {error.message}"
        yield from (f"mended: {sentence}" for sentence in reconcile(study, ledger, home, None))
    except TrackerError as error:
        yield f"could not be mended: {error.message}"


def shows_trouble(rows: Sequence[CellRow], home: Home) -> bool:
    """Say whether a crash may have left something, from the table and the names of files alone.

    Whatever a kill falls between, one of these is there: a lease that ran out, a cell that was begun
    and waits, a journal without its process, a complete cell without its run or with its state.
    """
    held = held_journals(home)
    for row in rows:
        begun = row.run_key is not None and row.run_key not in held
        if row.expired or (row.state == "WAITING" and begun):
            return True
        if row.state == "COMPLETE" and (row.run_id is None or (begun and (home.work / str(row.run_key)).exists())):
            return True
    return bool(left_journals(home))
