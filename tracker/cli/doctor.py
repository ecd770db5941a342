"""`tracker doctor`: can this machine run a sweep?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracker.cli.console import echo_painted, painted
from tracker.cli.examples import examples
from tracker.cli.options import device_option, home_option, storage_option, study_option

if TYPE_CHECKING:
    from tracker.study.home import Home
    from tracker.study.study import Study
    from tracker.sweep.checkup.engine import Outcome

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
    help="Also hold every acceleration of the training against the plain path, network by network: seconds on a GPU, "
    "minutes on a CPU.  [default: where --device names a GPU]",
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
        outcomes = _self_check(place, asked, study, show=form == "table")
    if form == "json":
        document: dict[str, object] = {"ok": not problems, "findings": [asdict(finding) for finding in findings]}
        if outcomes is not None:
            document["self_check"] = [asdict(outcome) for outcome in outcomes]
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(f"{problems} problem{'s' * (problems != 1)}" if problems else "all is well", err=True)
    context.exit(1 if problems else 0)


def _self_check(place: Home, device: str, study: Study | None, *, show: bool) -> list[Outcome]:
    """Hold the accelerations against the plain path, and show the table."""
    from rich import box
    from rich.table import Table

    from tracker.cli.console import stderr_console, wide_console
    from tracker.study.printing import harmless
    from tracker.sweep.checkup.engine import self_check, subjects_of
    from tracker.training.device import resolve_device

    outcomes: list[Outcome] = []
    with stderr_console().status("the self-check: every acceleration beside the plain path"):
        resolved = resolve_device(device)
        outcomes += self_check(subjects_of(study, place, resolved), resolved)
    if not show:
        return outcomes
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("network", no_wrap=True)
    for name in dict.fromkeys(outcome.acceleration for outcome in outcomes):
        table.add_column(name.replace("_", "_\n").replace(" ", "\n"), no_wrap=True, vertical="bottom")
    for subject in dict.fromkeys(outcome.subject for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.subject == subject]
        table.add_row(subject, *("same" if outcome.reason is None else "[red]plain[/red]" for outcome in own))
    click.echo()
    wide_console().print(table)
    for outcome in outcomes:
        if outcome.reason is not None:
            click.echo(f"{outcome.subject}, {outcome.acceleration}: {harmless(outcome.reason)}")
    plain = sum(outcome.reason is not None for outcome in outcomes)
    click.echo(
        f"{len(outcomes) - plain} of {len(outcomes)} compute what the plain path does"
        + ("; a trial takes the plain path for the others" if plain else "")
    )
    return outcomes
