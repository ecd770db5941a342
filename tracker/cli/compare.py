"""`tracker compare`: the leaderboard of a study."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import click

from tracker.cli.console import stdout_console
from tracker.cli.examples import examples
from tracker.cli.options import RANKING_METRIC, comparison_options, home_option, study_option

if TYPE_CHECKING:
    from rich.console import RenderableType

WIDTH = 120
"""Of a table in a file."""


@click.command(
    short_help="Print a study's leaderboard, with intervals and verdicts.",
    epilog=examples(
        ("the study swept last", "tracker compare"),
        (
            "another accuracy, for a paper",
            "tracker compare --study quickstart --metric last_acc --format latex -o table.tex",
        ),
        ("the numbers alone, for a program", "tracker compare --study quickstart --format json"),
        ("the reference study, its claims checked one by one", "tracker compare --published"),
        ("your own runs of it beside what was published", "tracker compare --study norm-test --against published"),
    ),
)
@study_option
@click.option(
    "--metric",
    type=RANKING_METRIC,
    default="best_acc",
    show_default=True,
    help="Which accuracy: of the best epoch on the test split (optimistic), of the last epoch, or of the epoch "
    "chosen on the validation split.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "csv", "json", "latex"]),
    default="table",
    show_default=True,
    help="How to print it; csv and json hold fractions, unrounded.",
)
@comparison_options
@click.option(
    "--published", is_flag=True, help="The 64 published results of the reference study instead, judged claim by claim."
)
@click.option(
    "--against",
    type=click.Choice(["published"]),
    help="The study's own results beside the published ones: are the differences within noise?",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False), metavar="FILE", help="Write to FILE, not to stdout.")
@home_option
def compare(
    study_name: str | None,
    metric: str,
    form: str,
    baseline: str | None,
    rope: float,
    force: bool,
    published: bool,
    against: str | None,
    output: str | None,
    home: str | None,
) -> None:
    """Print a study's leaderboard: for each model and dataset the normalizations side by side.

    Without --study, the study swept last. Best and second are marked; mean and sample standard
    deviation are over seeds; signed differences are to the baseline, paired by seed, each with its
    95 % interval and a verdict: better, worse, equivalent, or undecided and how many further seeds
    would decide. A cell that is missing, running or failed is shown as such, and the exit code is 0
    even if all of them are. --published needs no study, no home and no server.
    """
    if published or against:
        _check_published(study_name, metric, form, baseline, published, against)
    if published:
        from tracker.compare.comparison import Rules
        from tracker.compare.published.pages import PublishedPage

        page = PublishedPage(baseline, Rules(rope=rope / 100, force=force))
        _show(partial(page.text, form), page.view, form, output)
        return

    from tracker.study.home import Home
    from tracker.study.load import swept_name
    from tracker.tracking.server.addresses import bulk_reading_uri

    if study_name is not None:
        study_name = swept_name(study_name)
    place = Home.find(home)
    if against:
        from tracker.compare.published.pages import AgainstPage
        from tracker.compare.published.reading import read_against

        beside = AgainstPage(read_against(bulk_reading_uri(place), study_name))
        _show(partial(beside.text, form), beside.view, form, output)
        return

    from tracker.compare.formats import render
    from tracker.compare.outputs import leaderboard_of
    from tracker.compare.terminal import LeaderboardView, terminal_text

    board = leaderboard_of(
        *(bulk_reading_uri(place), place, study_name, metric, baseline), rope=rope / 100, force=force
    )
    text = partial(terminal_text, board) if form == "table" else lambda _: render(board, form)
    _show(text, lambda: LeaderboardView(board), form, output)


def _check_published(
    study_name: str | None, metric: str, form: str, baseline: str | None, published: bool, against: str | None
) -> None:
    """Refuse what has no meaning beside the published results."""
    from tracker.study.errors import UsageError

    if published and against:
        raise UsageError("--published and --against exclude each other", "the one is the published results alone")
    if published and study_name is not None:
        raise UsageError(
            "--published takes no --study", f"--study {study_name} --against published sets it beside them"
        )
    if metric != "best_acc":
        raise UsageError(f"{metric} was not published", "accepted: best_acc")
    if against and baseline is not None:
        raise UsageError("--against published takes no --baseline", "differences are to the published results")
    if against and form not in ("table", "markdown", "json"):
        raise UsageError(f"--against published has no format {form!r}", "accepted: table, markdown, json")


def _show(text: Callable[[int], str], view: Callable[[], RenderableType], form: str, output: str | None) -> None:
    """Write a result to a file or to stdout, where a terminal gets its own view of a table."""
    from pathlib import Path

    from tracker.study.errors import TrackerError
    from tracker.study.home import replacing
    from tracker.study.printing import harmless

    if output is not None:
        try:
            with replacing(Path(output)) as temporary:
                temporary.write_text(text(WIDTH), encoding="utf-8")
        except OSError as error:
            raise TrackerError(f"{output}: cannot be written: {error.strerror}") from error
        click.echo(f"wrote {output}", err=True)
    elif form == "table" and (console := stdout_console()).is_terminal:
        console.print(view())
    else:
        click.echo(harmless(text(console.width if form == "table" else WIDTH)), nl=False)
