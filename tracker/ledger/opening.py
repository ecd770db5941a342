"""Open a trial database that should be there already."""

from __future__ import annotations

from tracker.ledger.ledger import Ledger
from tracker.study.errors import UsageError
from tracker.study.home import Home


def existing_ledger(home: Home, storage: str | None = None) -> Ledger | None:
    """Open the trial database; None, and nothing is written, where the local one was never made.

    Args:
        storage: its URL; None for the local one.
    """
    if storage is None and not home.trials_db.exists():
        return None
    return Ledger.open(home, storage)


def ledger_with(study_name: str, home: Home, storage: str | None = None) -> Ledger:
    """Open the trial database that a study is in.

    Raises:
        UsageError: it is not there; lists those that are.
    """
    ledger = existing_ledger(home, storage)
    known = []
    if ledger is not None:
        try:
            known = [study.study for study in ledger.studies()]
        finally:
            if study_name not in known:
                ledger.close()
        if study_name in known:
            return ledger
    where = home.trials_db if ledger is None else ledger
    raise UsageError(
        f"{where} has no study {study_name!r}",
        f"studies there: {', '.join(known)}" if known else f"tracker sweep --study {study_name} begins one",
    )
