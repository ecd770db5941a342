"""`tracker status`: how far the studies are, as the ledger knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tracker.cli.console import print_json, print_table
from tracker.cli.examples import examples
from tracker.cli.options import home_option, storage_option, study_option

if TYPE_CHECKING:
    from datetime import datetime

    from rich.table import Table

    from tracker.ledger.ledger import Ledger
    from tracker.ledger.rows import CellRow, StudyCounts
    from tracker.study.home import Home

STYLES = {
    "done": "green", "running": "cyan", "lost": "magenta", "failed": "red", "cancelled": "yellow", "waiting": "dim"
}  # fmt: skip
WORDS = {"COMPLETE": "done", "RUNNING": "running", "FAIL": "failed", "PRUNED": "cancelled", "WAITING": "waiting"}


@click.command(
    short_help="Show all studies, or each cell of one.",
    epilog=examples(
        ("all studies", "tracker status"),
        ("each cell of one, and why it failed", "tracker status --study quickstart"),
        ("for a program", "tracker status --study quickstart --format json"),
    ),
)
@study_option
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print."
)
@storage_option
@home_option
def status(study_name: str | None, form: str, storage: str | None, home: str | None) -> None:
    """Show all studies that were run here, or each cell of one; mend what a crash left.

    \b
    done       complete, with its best accuracy (best epoch on the test split)
    running    a worker is at it
    lost       its worker died or hangs; another takes it where it stands
    failed     with the reason; `tracker retry` lets it run again
    cancelled  by `tracker cancel`; `tracker retry` brings it back
    waiting    not begun, or given back where it stands
    """
    from tracker.ledger.opening import existing_ledger
    from tracker.study.home import Home

    place = Home.find(home)
    ledger = existing_ledger(place, storage)
    if ledger is None:
        _show_nothing(place, study_name, form)
        return
    with ledger:
        if study_name is None:
            names = [study.study for study in ledger.studies() if study.waiting + study.running + study.lost]
        else:
            study_name = _known_name(ledger, study_name)
            names = [study_name]
        _mend(names, ledger, place)
        if study_name is None:
            _show_studies(ledger.studies(), place, form)
        else:
            _show_cells(study_name, ledger, form)


def _known_name(ledger: Ledger, name_or_path: str) -> str:
    """Return a study's name; one that was run needs no file any more."""
    from tracker.study.load import load_study

    return name_or_path if ledger.counts(name_or_path).cells else load_study(name_or_path).name


def _mend(names: list[str], ledger: Ledger, home: Home) -> None:
    """Bring the stores together for studies that are not finished, or that are looked at."""
    from tracker.study.printing import harmless
    from tracker.sweep.mending import mend_quietly

    for name in names:
        for sentence in mend_quietly(name, ledger, home):
            click.echo(harmless(sentence), err=True)


def _show_nothing(home: Home, study_name: str | None, form: str) -> None:
    from tracker.study.load import load_study

    if study_name is not None:
        name = load_study(study_name).name
        _show_no_cells(name, study_name, form)
    else:
        _show_studies([], home, form)


def _show_studies(studies: list[StudyCounts], home: Home, form: str) -> None:
    from dataclasses import asdict

    if form == "json":
        print_json({"studies": [asdict(study) for study in studies]})
        return
    if not studies:
        message = f"nothing has been run here yet (no study in {home.trials_db})\n  tracker sweep --study quickstart"
        click.echo(message, err=True)
        return
    words = ("done", "running", "lost", "failed", "cancelled", "waiting")
    table = _table("study", "cells", *words, "last activity")
    for study in studies:
        counts = (study.cells, study.complete, study.running, study.lost, study.failed, study.cancelled, study.waiting)
        table.add_row(study.study, *(str(count) if count else "–" for count in counts), _local(study.last_activity))
    print_table(table)
    for study in studies:
        _tell_pause(study)


def _show_cells(name: str, ledger: Ledger, form: str) -> None:
    from dataclasses import asdict

    rows = ledger.rows(name)
    if not rows:
        _show_no_cells(name, name, form)
        return
    counts = ledger.counts(name)
    if form == "json":
        counted = {key: value for key, value in asdict(counts).items() if key != "study"}
        print_json({"study": name, "counts": counted, "cells": [_cell(row) for row in rows]})
        return
    table = _table(
        "cell", "state", "epochs", "best_acc", "attempts", "worker", "failure",
        numbers=("epochs", "best_acc", "attempts"),
    )  # fmt: skip
    for row in rows:
        word = _word(row)
        best = f"{100 * row.metrics['best_acc']:.2f} %" if row.metrics else "–"
        failure = f"{row.failure_class or row.failure_kind}: {row.failure_message}" if row.failure_kind else "–"
        state = f"[{STYLES[word]}]{word}[/]"
        table.add_row(row.name, state, _epochs(row), best, str(row.attempts), row.worker or "–", _plain(failure))
    print_table(table)
    words = [_word(row) for row in rows]
    summary = ", ".join(f"{words.count(word)} {word}" for word in STYLES if word in words)
    click.echo(f"{name}: {len(rows)} cells: {summary}", err=True)
    _tell_pause(counts)


def _show_no_cells(name: str, given: str, form: str) -> None:
    if form == "json":
        print_json({"study": name, "counts": {}, "cells": []})
    else:
        click.echo(f"study {name} has not been run here yet\n  tracker sweep --study {given}", err=True)


def _tell_pause(study: StudyCounts) -> None:
    if study.paused is not None:
        click.echo(f"{study.study} is paused {study.paused}: tracker sweep --study {study.study} --resume", err=True)


def _epochs(row: CellRow) -> str:
    """Return how many epochs are durable, of how many."""
    from tracker.study.recipe import Recipe

    of = row.identity["recipe"].get("epochs", Recipe.model_fields["epochs"].default)
    done = of if row.state == "COMPLETE" else 0 if row.last_epoch is None else row.last_epoch + 1
    return f"{done}/{of}"


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
