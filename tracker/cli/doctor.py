"""`tracker doctor`: can this machine run a sweep?"""

from __future__ import annotations

from pathlib import Path

import click

from tracker.cli.console import echo_painted, painted
from tracker.cli.examples import examples
from tracker.cli.options import device_option, home_option, storage_option, study_option

MARKS = {"ok": ("ok     ", "green"), "warning": ("warning", "yellow"), "problem": ("PROBLEM", "red")}


@click.command(
    short_help="Check machine, disk, databases and servers; name cures.",
    epilog=examples(
        ("this machine", "tracker doctor"),
        ("and what a study needs: is everything here?", "tracker doctor --study norm-test"),
        ("and the backups: is there a new one, and is it whole?", "tracker doctor --backups /backups"),
        ("for a program, or a health check", "tracker doctor --device cpu --no-self-check --format json"),
        ("does every acceleration compute here what the plain path does?", "tracker doctor --self-check"),
    ),
)
@study_option
@device_option
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print."
)
@click.option(
    "--backups",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    metavar="DIR",
    help="Also the newest backup in DIR: its age, and every byte of it.",
)
@click.option(
    "--self-check/--no-self-check",
    default=None,
    help="Also hold every acceleration of the training against the plain path, network by network: some minutes. On a "
    "GPU also `compile`, which takes longest.  [default: where --device names a GPU, without `compile`]",
)
@storage_option
@home_option
@click.pass_context
def doctor(
    context: click.Context,
    study_name: str | None,
    device: str | None,
    form: str,
    backups: Path | None,
    self_check: bool | None,
    storage: str | None,
    home: str | None,
) -> None:
    """Check versions, device, disk, databases and servers; name the cure of what is wrong.

    With --study also its datasets and starting weights, and every disagreement about it between
    the table of cells, Optuna, MLflow and the disk; and a self-check is of its networks and images.
    Changes nothing. Ends with exit code 1 if there is a problem that would stop a sweep.
    """
    import json
    from dataclasses import asdict
    from itertools import chain

    from tracker.cli.self_check import run_self_check
    from tracker.operations import upkeep
    from tracker.study.home import Home
    from tracker.study.load import load_study
    from tracker.study.printing import harmless
    from tracker.sweep.checkup.finding import Finding
    from tracker.sweep.checkup.report import check_up

    study = load_study(study_name) if study_name is not None else None
    findings = []
    place = Home.find(home)
    asked = device or (study.device if study else "auto")
    sweeping = check_up(place, asked, study, storage)
    kept = upkeep.backups(place, backups) if backups else ()
    keeping = (Finding(*remark) for remark in chain(upkeep.upkeep(place, storage), kept))
    for finding in chain(sweeping, keeping):
        findings.append(finding)
        if form == "table":
            mark, color = MARKS[finding.level]
            echo_painted(f"{painted(mark, color)}  {finding.topic:<12} {harmless(finding.message)}")
            if finding.cure:
                click.echo(f"{'':22} cure: {harmless(finding.cure)}")
    problems = sum(finding.level == "problem" for finding in findings)
    outcomes = None
    if self_check or (self_check is None and (device or "").startswith("cuda") and not problems):
        outcomes = run_self_check(place, asked, study, compiled=bool(self_check), show=form == "table")
    if form == "json":
        document: dict[str, object] = {"ok": not problems, "findings": [asdict(finding) for finding in findings]}
        if outcomes is not None:
            document["self_check"] = [asdict(outcome) for outcome in outcomes]
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(f"{problems} problem{'s' * (problems != 1)}" if problems else "all is well", err=True)
    context.exit(1 if problems else 0)
