"""A study that is paused, and goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tracker.study.home import Home
    from tracker.study.study import Study


def pause_study(study_name: str, home: Home, storage: str | None) -> None:
    """Ask every worker of a study to keep its state and give its cell back; print what that means."""
    import getpass
    import socket

    from tracker.ledger.opening import ledger_with

    with ledger_with(study_name, home, storage) as ledger:
        running = ledger.counts(study_name).running
        ledger.pause(study_name, f"by {getpass.getuser()} on {socket.gethostname()}")
    click.echo(f"study {study_name} is paused; {running} running cells are kept and given back", err=True)
    click.echo(f"tracker sweep --study {study_name} --resume goes on", err=True)


def see_to_pause(study: Study, home: Home, storage: str | None, resume: bool) -> None:
    """End a pause if that is asked for; without it a paused study stays so.

    Raises:
        TrackerError: it is paused.
    """
    from tracker.ledger.opening import existing_ledger
    from tracker.study.errors import TrackerError

    ledger = existing_ledger(home, storage)
    if ledger is None:
        return
    with ledger:
        if resume:
            ledger.resume(study.name)
        elif (reason := ledger.pause_reason(study.name)) is not None:
            raise TrackerError(f"study {study.name} is paused {reason}", f"tracker sweep --study {study.name} --resume")
