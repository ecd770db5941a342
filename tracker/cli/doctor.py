"""`tracker doctor`: can this machine run a sweep?"""

from __future__ import annotations

import click

from tracker.cli.options import device_option, home_option, storage_option, study_option

MARKS = {"ok": ("ok     ", "green"), "warning": ("warning", "yellow"), "problem": ("PROBLEM", "red")}


@click.command()
@study_option
@device_option
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print."
)
@storage_option
@home_option
@click.pass_context
def doctor(
    context: click.Context,
    study_name: str | None,
    device: str | None,
    form: str,
    storage: str | None,
    home: str | None,
) -> None:
    """Check versions, device, disk, databases and servers; name the cure of what is wrong.

    With --study also its datasets and starting weights, and every disagreement about it between
    the table of cells, Optuna, MLflow and the disk. Changes nothing. Ends with exit code 1 if there
    is a problem that would stop a sweep.
    """
    import json
    import os
    from dataclasses import asdict

    from tracker.study.home import Home
    from tracker.study.load import load_study
    from tracker.sweep.checkup.report import check_up

    study = load_study(study_name) if study_name is not None else None
    findings = []
    for finding in check_up(Home.find(home), device or (study.device if study else "auto"), study, storage):
        findings.append(finding)
        if form == "table":
            mark, color = MARKS[finding.level]
            shown = mark if os.environ.get("NO_COLOR") else click.style(mark, fg=color)
            click.echo(f"{shown}  {finding.topic:<12} {finding.message}")
            if finding.cure:
                click.echo(f"{'':22} cure: {finding.cure}")
    problems = sum(finding.level == "problem" for finding in findings)
    if form == "json":
        document = {"ok": not problems, "findings": [asdict(finding) for finding in findings]}
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(f"{problems} problem{'s' * (problems != 1)}" if problems else "all is well", err=True)
    context.exit(1 if problems else 0)
