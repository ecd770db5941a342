"""`tracker sweep`: run what is missing of a study."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import click

from tracker.cli.console import stderr_console, stdout_console
from tracker.cli.options import (
    RANKING_METRIC,
    WorkersType,
    cell_options,
    cell_settings,
    device_option,
    home_option,
    set_option,
    storage_option,
    weights_dir_option,
)
from tracker.cli.progress import shown

if TYPE_CHECKING:
    from pathlib import Path

    from tracker.cli.deciding import Deciding
    from tracker.compare.scores import Leaderboard
    from tracker.study.home import Home
    from tracker.study.study import Study
    from tracker.sweep.options import SweepOptions
    from tracker.sweep.run import Prepared
    from tracker.sweep.summary import Summary


@click.command()
@click.option(
    "--study", "study_name", required=True, metavar="NAME|PATH", help="A study in experiments/, or a YAML file."
)
@set_option
@click.option("--axis", "axes", multiple=True, metavar="KEY=V1,V2", help="Give an axis other values: seed=1,2,3.")
@device_option
@click.option(
    "--workers", type=WorkersType(), metavar="N|auto", help="Cells run at once.  [default: auto, one a device]"
)
@click.option(
    "--trials-per-device",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    metavar="K",
    help="With --workers auto: workers on each device.",
)
@click.option("--limit-train", type=click.IntRange(1), metavar="N", help="Use N training images, drawn by class.")
@click.option("--limit-test", type=click.IntRange(1), metavar="N", help="Use N test images, drawn by class.")
@weights_dir_option
@click.option("--dry-run", is_flag=True, help="Print the grid, what is done, and what the rest will cost; run nothing.")
@click.option(
    "--pause", is_flag=True, help="Let all workers of the study stop, wherever they are; cells keep their state."
)
@click.option("--resume", is_flag=True, help="Go on with a study that is paused.")
@click.option("--replace", is_flag=True, help="Let a changed recipe take the place of the study's earlier one.")
@click.option(
    "--enroll-only", is_flag=True, help="Put the grid into the trial database for `tracker worker`; run nothing."
)
@click.option(
    "--until-decided",
    is_flag=True,
    help="Add the seeds that undecided comparisons need, and only those, until each is decided.",
)
@click.option(
    "--max-seeds",
    type=click.IntRange(2, 1_000),
    metavar="N",
    help="With --until-decided: seeds of one configuration at most.  [default: 20]",
)
@click.option(
    "--metric",
    type=RANKING_METRIC,
    help="With --until-decided: which accuracy is compared.  [default: best_acc]",
)
@click.option(
    "--executor",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Run workers as processes here, or on a Ray cluster.",
)
@click.option(
    "--address", metavar="ADDRESS", help="Of the Ray cluster.  [default: RAY_ADDRESS, else one on this machine]"
)
@storage_option
@cell_options
@home_option
def sweep(
    study_name: str,
    settings: tuple[str, ...],
    axes: tuple[str, ...],
    device: str | None,
    workers: int | None,
    trials_per_device: int,
    limit_train: int | None,
    limit_test: int | None,
    weights_dir: Path | None,
    dry_run: bool,
    pause: bool,
    resume: bool,
    replace: bool,
    enroll_only: bool,
    until_decided: bool,
    max_seeds: int | None,
    metric: str | None,
    executor: Literal["local", "ray"],
    address: str | None,
    storage: str | None,
    home: str | None,
    **cells: Any,
) -> None:
    """Run what is missing of a study, then show its leaderboard.

    Each cell of the grid (models x datasets x normalizations x seeds ...) is one Optuna trial and
    one MLflow run. Run again after adding a seed, a dataset or a normalization: only the missing
    cells run. Ctrl-C stops cleanly, and so does a kill: the same command goes on where cells stand.

    \b
    tracker sweep --study quickstart
    tracker sweep --study quickstart --axis seed=1,2,3,4,5
    tracker sweep --study quickstart --until-decided --max-seeds 12
    tracker sweep --study norm-test --set name=small --device cpu --limit-train 512 --set recipe.epochs=1
    tracker sweep --study norm-test --pause
    """
    from tracker.cli.deciding import Deciding, stored_growth
    from tracker.study.home import Home
    from tracker.study.load import load_study

    if sum((dry_run, pause, enroll_only)) > 1 or (pause and resume):
        raise click.UsageError("--dry-run, --pause, --enroll-only and --resume exclude each other")
    if until_decided and (pause or enroll_only):
        raise click.UsageError("--until-decided does not go with --pause or --enroll-only")
    if not until_decided and (max_seeds or metric):
        raise click.UsageError("--max-seeds and --metric go with --until-decided")
    place = Home.find(home)
    if pause:
        _pause(study_name, place, storage)
        return
    limits = {"limit_train": limit_train, "limit_test": limit_test}
    settings += tuple(f"recipe.{key}={value}" for key, value in limits.items() if value is not None)
    say = partial(click.echo, err=True)
    study = stored_growth(load_study(study_name, settings, axes), place, storage, replace, say)
    deciding = Deciding(place, metric or "best_acc", max_seeds or 20, say) if until_decided else None
    from tracker.sweep.options import SweepOptions  # torch: after the study is known to be sound

    options = SweepOptions(
        device=device or study.device,
        workers=0 if enroll_only else workers,
        trials_per_device=trials_per_device,
        weights_dir=weights_dir,
        storage=storage,
        executor=executor,
        address=address,
        replace=replace,
        settings=cell_settings(**cells),
    )
    if dry_run:
        _print_plan(study, place, options)
    else:
        _see_to_pause(study, place, storage, resume)
        sys.exit(_run(study, place, options, deciding))


def _pause(study_name: str, home: Home, storage: str | None) -> None:
    import getpass
    import socket

    from tracker.ledger.opening import ledger_with

    with ledger_with(study_name, home, storage) as ledger:
        running = ledger.counts(study_name).running
        ledger.pause(study_name, f"by {getpass.getuser()} on {socket.gethostname()}")
    click.echo(f"study {study_name} is paused; {running} running cells are kept and given back", err=True)
    click.echo(f"tracker sweep --study {study_name} --resume goes on", err=True)


def _see_to_pause(study: Study, home: Home, storage: str | None, resume: bool) -> None:
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


def _print_plan(study: Study, home: Home, options: SweepOptions) -> None:
    from tracker.sweep.plan import describe_plan, estimate_plan, make_plan
    from tracker.sweep.progress import say_on

    plan = make_plan(study, home, options.storage, replace=options.replace)
    workers = options.workers or options.trials_per_device
    estimate = estimate_plan(plan, home, options.device, workers, options.settings.keep, say_on(stderr_console()))
    stdout_console().print(describe_plan(plan, estimate, home))


def _run(study: Study, home: Home, options: SweepOptions, deciding: Deciding | None) -> int:
    """Run the sweep, round after round if comparisons are to be decided; print its leaderboard, return the exit code.

    After each round the leaderboard is published.
    """
    import signal
    from dataclasses import replace

    from tracker.compare.publish import publish_leaderboard
    from tracker.compare.terminal import LeaderboardView
    from tracker.sweep.progress import say_on
    from tracker.sweep.run import prepare_sweep, run_sweep
    from tracker.tracking.server.session import tracking_session

    messages = stderr_console()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM stops as Ctrl-C does
    say = say_on(messages)
    if deciding is not None:
        study = deciding.begin(study)

    def prepare() -> Prepared:
        with shown(messages) as progress:
            return prepare_sweep(study, home, options, say=say, progress=progress)

    prepared = prepare()
    boards: list[Leaderboard] = []
    with tracking_session(home, say) as uri:
        while True:
            summary = run_sweep(
                *(prepared, home, uri, options),
                console=messages,
                publish=lambda tracking: boards.append(publish_leaderboard(tracking, home)),
            )
            if deciding is None or (grown := deciding.grow(study, uri, summary)) is None:
                break
            study, options = grown, replace(options, replace=False)
            prepared = prepare()
    if options.workers == 0:
        return _tell_enrolled(summary, study, options)
    if board := (deciding and deciding.board) or (boards and boards[-1]):
        stdout_console().print(LeaderboardView(board))
    if deciding is not None:
        say(deciding.ending)
    return _tell_end(summary, study, home)


def _tell_enrolled(summary: Summary, study: Study, options: SweepOptions) -> int:
    click.echo(f"{summary.left} of {len(study.cells)} cells wait for workers, here or on any machine:", err=True)
    storage = " --storage URL" if options.storage else ""
    click.echo(f"  tracker worker --study {study.name}{storage}", err=True)
    return 0


def _tell_end(summary: Summary, study: Study, home: Home) -> int:
    """Say on stderr how the sweep ended and what to do next; return the exit code."""
    from tracker.study.home import Home
    from tracker.sweep.progress import say_on

    say = say_on(stderr_console())
    where = "" if home == Home.find() else f" --home {home.root}"
    for row in summary.failures:
        say(f"failed: {row.name} ({row.failure_class}, {row.failure_kind}): {row.failure_message}")
    if summary.failures:
        again = f"tracker retry --study {study.name} --failed{where}"
        say(f"{len(summary.failures)} cells failed; once the cause is mended: {again}")
    if summary.cancelled:
        say(f"{summary.cancelled} cells are cancelled")
    if summary.elsewhere:
        say(f"{summary.elsewhere} cells are being worked on by another sweep of this study")
    if summary.paused:
        say(f"paused {summary.paused}; tracker sweep --study {study.name} --resume{where} goes on")
    elif summary.interrupted:
        say("stopped; the same command goes on where the cells stand")
    elif summary.left:
        say(f"{summary.left} of {len(study.cells)} cells are not done; the same command goes on")
    if not summary.complete:
        return 1
    say(f"browse the runs:  tracker ui{where}")
    say(f"other metrics:    tracker compare --study {study.name} --metric last_acc{where}")
    say(f"all on one page:  tracker report --study {study.name} -o report{where}")
    return 0
