"""`tracker status`: how far the studies are, as the ledger knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tracker.cli.console import print_json, print_table
from tracker.cli.options import home_option, study_option

if TYPE_CHECKING:
    from datetime import datetime

    from rich.table import Table

    from tracker.ledger.rows import CellRow, StudyCounts
    from tracker.study.home import Home

STYLES = {"done": "green", "running": "cyan", "lost": "magenta", "failed": "red", "waiting": "dim"}
WORDS = {"COMPLETE": "done", "RUNNING": "running", "FAIL": "failed", "WAITING": "waiting"}


@click.command()
@study_option
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print."
)
@home_option
def status(study_name: str | None, form: str, home: str | None) -> None:
    """Show all studies that were run here, or each cell of one.

    \b
    done     complete, with its best accuracy (best epoch on the test split)
    running  a worker is at it
    lost     its worker died or hangs; the next sweep runs it
    failed   with the reason; the next sweep tries again
    waiting  not begun, or given back
    """
    from tracker.study.home import Home

    place = Home.find(home)
    if study_name is None:
        _show_studies(_studies(place), place, form)
    else:
        _show_cells(study_name, place, form)


def _studies(home: Home) -> list[StudyCounts]:
    """Read all studies; none where no ledger was made yet."""
    from tracker.ledger.ledger import Ledger

    if not home.trials_db.exists():
        return []
    with Ledger.local(home) as ledger:
        return ledger.studies()


def _show_studies(studies: list[StudyCounts], home: Home, form: str) -> None:
    from dataclasses import asdict

    if form == "json":
        print_json({"studies": [asdict(study) for study in studies]})
        return
    if not studies:
        message = f"nothing has been run here yet (no study in {home.trials_db})\n  tracker sweep --study quickstart"
        click.echo(message, err=True)
        return
    table = _table("study", "cells", "done", "running", "lost", "failed", "waiting", "last activity")
    for study in studies:
        counts = (study.cells, study.complete, study.running, study.lost, study.failed, study.waiting)
        table.add_row(study.study, *(str(count) if count else "–" for count in counts), _local(study.last_activity))
    print_table(table)


def _show_cells(study_name: str, home: Home, form: str) -> None:
    from dataclasses import asdict

    from tracker.ledger.ledger import Ledger
    from tracker.study.load import load_study

    known = {study.study: study for study in _studies(home)}
    # A study that was run needs no file any more; a path, or a name without rows, is looked up.
    name = study_name if study_name in known else load_study(study_name).name
    rows: list[CellRow] = []
    if name in known:
        with Ledger.local(home) as ledger:
            rows = ledger.rows(name)
    if form == "json":
        counts = {key: value for key, value in asdict(known[name]).items() if key != "study"} if rows else {}
        print_json({"study": name, "counts": counts, "cells": [_cell(row) for row in rows]})
        return
    if not rows:
        click.echo(f"study {name} has not been run here yet\n  tracker sweep --study {study_name}", err=True)
        return
    table = _table("cell", "state", "best_acc", "attempts", "worker", "failure", numbers=("best_acc", "attempts"))
    for row in rows:
        word = _word(row)
        best = f"{100 * row.metrics['best_acc']:.2f} %" if row.metrics else "–"
        failure = f"{row.failure_kind}: {row.failure_message}" if row.failure_kind else "–"
        state = f"[{STYLES[word]}]{word}[/]"
        table.add_row(row.name, state, best, str(row.attempts), row.worker or "–", _plain(failure))
    print_table(table)
    words = [_word(row) for row in rows]
    summary = ", ".join(f"{words.count(word)} {word}" for word in STYLES if word in words)
    click.echo(f"{name}: {len(rows)} cells: {summary}", err=True)


def _word(row: CellRow) -> str:
    return "lost" if row.expired else WORDS[row.state]


def _cell(row: CellRow) -> dict[str, Any]:
    """Return what a program may want to know of a cell."""
    from dataclasses import asdict

    return {"status": _word(row)} | {
        key: value for key, value in asdict(row).items() if key not in ("study", "identity", "trial_id")
    }


def _local(moment: datetime | None) -> str:
    """Format a moment in local time."""
    return "–" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _plain(text: str) -> str:
    """Return the first line, safe from rich's markup."""
    from rich.markup import escape

    return escape(text.split("\n")[0])


def _table(first: str, *others: str, numbers: tuple[str, ...] = ()) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(first, box=box.SIMPLE_HEAD)
    for other in others:
        counted = other in numbers or (not numbers and other != "last activity")
        table.add_column(other, justify="right" if counted else "left")
    return table
