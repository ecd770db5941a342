"""`tracker report`: everything of a study, in every format."""

from __future__ import annotations

from pathlib import Path

import click

from tracker.cli.examples import examples
from tracker.cli.options import RANKING_METRIC, comparison_options, home_option, study_option


@click.command(
    short_help="Write a study's report: answer, tables, figures, one HTML page.",
    epilog=examples(
        ("everything of a study, into the folder report", "tracker report --study quickstart -o report"),
        (
            "judged by the last epoch; not put on its run",
            "tracker report --study quickstart --metric last_acc --no-log -o report-last",
        ),
        ("the reference study", "tracker report --published -o published"),
    ),
)
@study_option
@click.option("--published", is_flag=True, help="The reference study's 64 published results instead of a study.")
@click.option(
    "-o", "--output", "folder", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Write into DIR."
)
@click.option(
    "--metric",
    type=RANKING_METRIC,
    default="best_acc",
    show_default=True,
    help="Which accuracy the tables and figures are of; the others stand beside them.",
)
@comparison_options
@click.option("--no-log", is_flag=True, help="Do not put the report on the study's run in MLflow.")
@home_option
def report(
    study_name: str | None,
    published: bool,
    folder: Path,
    metric: str,
    baseline: str | None,
    rope: float,
    force: bool,
    no_log: bool,
    home: str | None,
) -> None:
    """Write a study's report: the answer in words, every table and figure, and what they rest on.

    Without --study, the study swept last. DIR then holds report.html, one page that needs nothing
    else; report.md with the pictures in figures/; tables.tex for LaTeX with booktabs;
    leaderboard.csv, comparisons.csv and report.json, unrounded; and every figure as SVG and PNG. An
    earlier report in DIR is replaced. The report is put on the study's run in MLflow as well, in
    the folder `report`.
    """
    from tracker.compare.reporting.content import published_content, study_content
    from tracker.compare.reporting.write import check_folder, write_report
    from tracker.study.errors import TrackingError, UsageError
    from tracker.study.home import Home
    from tracker.study.load import swept_name
    from tracker.tracking.attaching import attach_files
    from tracker.tracking.server.addresses import bulk_reading_uri, reading_uri

    check_folder(folder)
    if published and (study_name is not None or metric != "best_acc"):
        raise UsageError("--published takes neither --study nor --metric", "accepted: best_acc of the reference study")
    if published:
        files = write_report(published_content(baseline, rope=rope / 100), folder)
        click.echo(f"wrote {files[0]} and {len(files) - 1} files beside it", err=True)
        return
    if study_name is not None:
        study_name = swept_name(study_name)
    place = Home.find(home)
    content = study_content(bulk_reading_uri(place), place, study_name, metric, baseline, rope=rope / 100, force=force)
    files = write_report(content, folder)
    click.echo(f"wrote {files[0]} and {len(files) - 1} files beside it", err=True)
    if no_log:
        return
    try:
        attach_files(reading_uri(place), content.run_id, files, folder, "report")
    except TrackingError as error:
        click.echo(f"warning: the report is not on the study's run: {error}", err=True)
    else:
        click.echo("it is on the study's run in MLflow as well, folder report", err=True)
