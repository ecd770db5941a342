"""`tracker compare`: the leaderboard of a study."""

from __future__ import annotations

import click

from tracker.cli.options import home_option, study_option


@click.command()
@study_option
@click.option(
    "--metric",
    type=click.Choice(["best_acc", "last_acc", "selected_acc"]),
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
@click.option(
    "--baseline", metavar="NORMALIZATION", help="What differences are taken against.  [default: the study's own]"
)
@click.option("-o", "--output", type=click.Path(dir_okay=False), metavar="FILE", help="Write to FILE, not to stdout.")
@home_option
def compare(
    study_name: str | None, metric: str, form: str, baseline: str | None, output: str | None, home: str | None
) -> None:
    """Print a study's leaderboard: for each model and dataset the normalizations side by side.

    Without --study, the study swept last. Best and second are marked; mean and sample standard
    deviation are over seeds; signed differences are to the baseline, paired by seed. A cell that
    is missing, running or failed is shown as such, and the exit code is 0 even if all of them are.
    """
    from pathlib import Path

    from rich.console import Console

    from tracker.compare.formats import render
    from tracker.compare.report import leaderboard_of
    from tracker.compare.terminal import LeaderboardView, terminal_text
    from tracker.study.errors import TrackerError
    from tracker.study.home import Home, replacing
    from tracker.study.load import load_study
    from tracker.tracking.server import reading_uri

    if study_name is not None and (study_name.endswith((".yaml", ".yml")) or "/" in study_name):
        study_name = load_study(study_name).name
    board = leaderboard_of(reading_uri(Home.find(home)), study_name, metric, baseline)
    if output is not None:
        try:
            with replacing(Path(output)) as temporary:
                temporary.write_text(render(board, form), encoding="utf-8")
        except OSError as error:
            raise TrackerError(f"{output}: cannot be written: {error.strerror}") from error
        click.echo(f"wrote {output}", err=True)
    elif form == "table" and (console := Console()).is_terminal:
        console.print(LeaderboardView(board))
    elif form == "table":
        click.echo(terminal_text(board, console.width), nl=False)
    else:
        click.echo(render(board, form), nl=False)
