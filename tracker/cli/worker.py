"""`tracker worker`: one worker of a study, on any machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from tracker.cli.console import stderr_console
from tracker.cli.examples import examples
from tracker.cli.options import (
    cell_options,
    cell_settings,
    device_option,
    home_option,
    storage_option,
    swept_study_option,
    weights_dir_option,
)
from tracker.cli.progress import shown


@click.command(
    short_help="Run cells of an enrolled study, on any machine.",
    epilog=examples(
        ("put the grid into the database, from any machine", "tracker sweep --study norm-test --enroll-only"),
        ("work on it here", "tracker worker --study norm-test --device cuda:0"),
        (
            "in a job that should end when there is nothing to take",
            "TRACKER_STORAGE=postgresql+psycopg://db/trials tracker worker --study norm-test --burst",
        ),
    ),
)
@swept_study_option
@storage_option
@device_option
@click.option("--burst", is_flag=True, help="End as soon as no cell can be taken.")
@click.option("--max-cells", type=click.IntRange(1), metavar="N", help="End after N cells.")
@click.option(
    "--max-idle",
    type=click.FloatRange(0),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="End after so long without a cell; at once when every cell is settled.",
)
@weights_dir_option
@cell_options
@home_option
def worker(
    study_name: str,
    storage: str | None,
    device: str | None,
    burst: bool,
    max_cells: int | None,
    max_idle: float,
    weights_dir: Path | None,
    home: str | None,
    **cells: Any,
) -> None:
    """Run cells of a study that was enrolled by `tracker sweep`, here or on another machine.

    The study's definition comes from the trial database, sources from MLflow's artifact store
    (MLFLOW_TRACKING_URI); datasets must be on this machine. SIGTERM and Ctrl-C keep the state and
    give the cell back (exit code 1), a second one ends at once. Start as many as there are devices.
    """
    from tracker.study.home import Home
    from tracker.sweep.standalone import run_standalone

    messages = stderr_console()
    with shown(messages) as progress:
        ended = run_standalone(
            study_name,
            Home.find(home),
            storage,
            device=device,
            weights_dir=weights_dir,
            settings=cell_settings(**cells),
            burst=burst,
            max_cells=max_cells,
            max_idle=max_idle,
            console=messages,
            progress=progress,
        )
    sys.exit(0 if ended else 1)
