"""`tracker sweep`: run what is missing of a study."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import click

from tracker.cli.console import stderr_console, stdout_console
from tracker.cli.ending import tell_end, tell_enrolled
from tracker.cli.examples import examples
from tracker.cli.options import (
    RANKING_METRIC,
    CountType,
    cell_options,
    cell_settings,
    device_option,
    home_option,
    set_option,
    storage_option,
    weights_dir_option,
)
from tracker.cli.pausing import pause_study, see_to_pause
from tracker.cli.progress import shown
from tracker.cli.values import axes as axis_values
from tracker.cli.values import study_files, worker_counts

if TYPE_CHECKING:
    from pathlib import Path

    from tracker.cli.deciding import Deciding
    from tracker.compare.scores import Leaderboard
    from tracker.study.home import Home
    from tracker.study.study import Study
    from tracker.sweep.options import SweepOptions
    from tracker.sweep.run import Prepared


@click.command(
    epilog=examples(
        ("run a study, or what is missing of it", "tracker sweep --study quickstart"),
        ("two more seeds: only the new cells run", "tracker sweep --study quickstart --axis seed=1,2,3,4,5"),
        (
            "another recipe, under a name of its own",
            "tracker sweep --study quickstart --set recipe.epochs=8 --set name=quickstart-8",
        ),
        ("more seeds, where they decide something", "tracker sweep --study quickstart --until-decided --max-seeds 12"),
        ("what would run, for how long, on how much disk", "tracker sweep --study norm-test --dry-run"),
        (
            "a large study made small, on a CPU",
            "tracker sweep --study norm-test --set name=norm-test-small --device cpu --limit-train 512 "
            "--limit-test 256 --set recipe.epochs=1",
        ),
        ("let all its workers stop; --resume goes on", "tracker sweep --study norm-test --pause"),
    ),
)
@click.option(
    "--study",
    "study_name",
    required=True,
    metavar="NAME|PATH",
    help="A study in experiments/, or a YAML file.",
    shell_complete=study_files,
)
@set_option
@click.option(
    "--axis",
    "axes",
    multiple=True,
    metavar="KEY=V1,V2",
    shell_complete=axis_values,
    help="Give an axis other values: seed=1,2,3.",
)
@device_option
@click.option(
    "--workers",
    type=CountType(256),
    metavar="N|auto",
    shell_complete=worker_counts,
    help="Cells run at once.  [default: auto, one a device]",
)
@click.option(
    "--trials-per-device",
    type=CountType(64),
    default="1",
    show_default=True,
    metavar="K|auto",
    shell_complete=worker_counts,
    help="With --workers auto: workers on each device. auto tries 1, 2, 4 ... at once for some seconds each, and takes "
    "as many as pay.",
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
    trials_per_device: int | None,
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
    measured = trials_per_device is None and workers is None and not enroll_only
    if measured and executor == "ray":
        raise click.UsageError("--trials-per-device auto measures this machine, not Ray's; give a number")
    place = Home.find(home)
    if pause:
        pause_study(study_name, place, storage)
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
        trials_per_device=trials_per_device or 1,
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
        see_to_pause(study, place, storage, resume)
        sys.exit(_run(study, place, options, deciding, measured))


def _print_plan(study: Study, home: Home, options: SweepOptions) -> None:
    from tracker.sweep.plan import describe_plan, estimate_plan, make_plan
    from tracker.sweep.progress import say_on

    plan = make_plan(study, home, options.storage, replace=options.replace)
    workers = options.workers or options.trials_per_device
    estimate = estimate_plan(plan, home, options.device, workers, options.settings.keep, say_on(stderr_console()))
    stdout_console().print(describe_plan(plan, estimate, home))


def _run(study: Study, home: Home, options: SweepOptions, deciding: Deciding | None, measured: bool) -> int:
    """Run the sweep, round after round if comparisons are to be decided; print its leaderboard, return the exit code.

    After each round the leaderboard is published.

    Args:
        measured: the number of trials on each device is what measuring finds to pay.
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
    if measured and prepared.checked is not None:
        from tracker.bench.sharing import trials_that_pay

        at_once = trials_that_pay(
            *(prepared.plan.to_do, prepared.checked.images, prepared.checked.device),
            *(options.settings.accelerate, say),
        )
        options = replace(options, trials_per_device=at_once)
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
        return tell_enrolled(summary, study, options)
    if board := (deciding and deciding.board) or (boards and boards[-1]):
        stdout_console().print(LeaderboardView(board))
    if deciding is not None:
        say(deciding.ending)
    return tell_end(summary, study, home)
