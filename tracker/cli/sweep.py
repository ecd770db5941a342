"""`tracker sweep`: run what is missing of a study."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from tracker.cli.console import stderr_console, stdout_console
from tracker.cli.options import device_option, home_option, set_option, weights_dir_option
from tracker.cli.progress import shown

if TYPE_CHECKING:
    from pathlib import Path

    from tracker.study.home import Home
    from tracker.study.study import Study
    from tracker.sweep.run import Summary


@click.command()
@click.option(
    "--study", "study_name", required=True, metavar="NAME|PATH", help="A study in experiments/, or a YAML file."
)
@set_option
@click.option("--axis", "axes", multiple=True, metavar="KEY=V1,V2", help="Give an axis other values: seed=1,2,3.")
@device_option
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Cells run at once.")
@click.option("--limit-train", type=click.IntRange(1), metavar="N", help="Use N training images, drawn by class.")
@click.option("--limit-test", type=click.IntRange(1), metavar="N", help="Use N test images, drawn by class.")
@weights_dir_option
@click.option("--dry-run", is_flag=True, help="Print the grid, what is done, and what the rest will cost; run nothing.")
@home_option
def sweep(
    study_name: str,
    settings: tuple[str, ...],
    axes: tuple[str, ...],
    device: str | None,
    workers: int,
    limit_train: int | None,
    limit_test: int | None,
    weights_dir: Path | None,
    dry_run: bool,
    home: str | None,
) -> None:
    """Run what is missing of a study, then show its leaderboard.

    Each cell of the grid (models x datasets x normalizations x seeds ...) is one Optuna trial and
    one MLflow run. Run again after adding a seed, a dataset or a normalization: only the missing
    cells run. Ctrl-C stops cleanly; cells in progress run again next time.

    \b
    tracker sweep --study quickstart
    tracker sweep --study quickstart --axis seed=1,2,3,4,5
    tracker sweep --study norm-test --device cpu --limit-train 512 --limit-test 256 --set recipe.epochs=1
    """
    from tracker.study.home import Home
    from tracker.study.load import load_study

    limits = {"limit_train": limit_train, "limit_test": limit_test}
    settings += tuple(f"recipe.{key}={value}" for key, value in limits.items() if value is not None)
    study = load_study(study_name, settings, axes)
    place = Home.find(home)
    if dry_run:
        _print_plan(study, place, device or study.device, workers)
    else:
        sys.exit(_run(study, place, device or study.device, workers, weights_dir))


def _print_plan(study: Study, home: Home, device: str, workers: int) -> None:
    from tracker.sweep.plan import describe_plan, estimate_plan, make_plan
    from tracker.sweep.progress import say_on

    plan = make_plan(study, home)
    estimate = estimate_plan(plan, home, device, workers, say_on(stderr_console()))
    stdout_console().print(describe_plan(plan, estimate, home))


def _run(study: Study, home: Home, device: str, workers: int, weights_dir: Path | None) -> int:
    """Run the sweep, publish and print its leaderboard; return the exit code."""
    import signal

    from tracker.compare.publish import publish_leaderboard
    from tracker.compare.terminal import LeaderboardView
    from tracker.sweep.progress import say_on
    from tracker.sweep.run import prepare_sweep, run_sweep
    from tracker.tracking.server import tracking_session

    messages = stderr_console()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM stops as Ctrl-C does
    say = say_on(messages)
    with shown(messages) as progress:
        prepared = prepare_sweep(study, home, device=device, weights_dir=weights_dir, say=say, progress=progress)
    boards = []
    with tracking_session(home, say) as uri:
        summary = run_sweep(
            prepared,
            home,
            uri,
            device=device,
            workers=workers,
            weights_dir=weights_dir,
            console=messages,
            publish=lambda tracking: boards.append(publish_leaderboard(tracking, home)),
        )
    for board in boards:
        stdout_console().print(LeaderboardView(board))
    return _tell_end(summary, study, home)


def _tell_end(summary: Summary, study: Study, home: Home) -> int:
    """Say on stderr how the sweep ended and what to do next; return the exit code."""
    from tracker.study.home import Home
    from tracker.sweep.progress import say_on

    say = say_on(stderr_console())
    for failure in summary.failed:
        say(f"failed: {failure.name} ({failure.kind}): {failure.message}")
    where = "" if home == Home.find() else f" --home {home.root}"
    if summary.interrupted:
        say("stopped; the same command goes on with what is left")
        return 1
    if summary.elsewhere:
        say(f"{summary.elsewhere} cells are being worked on by another sweep of this study")
    if summary.left:
        say(f"{summary.left} of {len(study.cells)} cells are not done; the same command tries them again")
        return 1
    say(f"browse the runs:  tracker ui{where}")
    say(f"other metrics:    tracker compare --study {study.name} --metric last_acc{where}")
    return 0
