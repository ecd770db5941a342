"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from tracker.cli.values import accelerations, devices, normalizations, settings, study_files, swept_studies

if TYPE_CHECKING:
    from tracker.sweep.workers.config import CellSettings

Command = TypeVar("Command", bound=Callable[..., Any])

RANKING_METRIC = click.Choice(["best_acc", "last_acc", "selected_acc"])
"""`tracker.study.metrics.RANKING_METRICS`; a test holds the two together."""

STORAGE_VARIABLE = "TRACKER_STORAGE"

PASSWORD = re.compile(r"://[^/@:]*:.*@|[?&]\w*password=", re.IGNORECASE)
"""In a database's URL: before the host, whatever characters it has, or in the query."""


class CountType(click.ParamType["int | None"]):
    """A number from 1 up, or `auto`, which becomes None."""

    name = "count"

    def __init__(self, most: int) -> None:
        self.most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value is None or value == "auto":
            return None
        if not (isinstance(value, str) and value.isdigit() and 1 <= int(value) <= self.most):
            self.fail(f"{value!r} is neither auto nor a number from 1 to {self.most}", param, ctx)
        return int(value)


def _without_password(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse a password where every user of the machine can read it."""
    given = parameter.name is not None and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    if value and given and PASSWORD.search(value):
        raise click.BadParameter(
            "a password in an argument can be read by everybody on this machine: "
            f"put the URL into {STORAGE_VARIABLE}, or the password into PGPASSWORD or ~/.pgpass",
            context,
            parameter,
        )
    return value or None


home_option = click.option(
    "--home",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Folder for everything kept locally.  [default: TRACKER_HOME, else ./mlruns]",
)
study_option = click.option(
    "--study",
    "study_name",
    metavar="NAME|PATH",
    help="A study in experiments/, or a path to a YAML file.",
    shell_complete=study_files,
)
swept_study_option = click.option(
    "--study",
    "study_name",
    required=True,
    metavar="NAME",
    shell_complete=swept_studies,
    help="A study that is in the trial database.",
)
storage_option = click.option(
    "--storage",
    envvar=STORAGE_VARIABLE,
    metavar="URL",
    callback=_without_password,
    help=f"Trial database, as postgresql+psycopg://HOST/DB.  [default: {STORAGE_VARIABLE}, else a file in the "
    "home folder]",
)
set_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=settings,
    help="Change a value of the study: recipe.epochs=5. Repeat for more.",
)
device_option = click.option(
    "--device",
    metavar="auto|cpu|cuda|cuda:N",
    shell_complete=devices,
    help="Where to train.  [default: the study's, as a rule auto]",
)
weights_dir_option = click.option(
    "--weights-dir",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    metavar="DIR",
    help="Folder with torchvision's weights files.  [default: torch hub's cache, else the home folder]",
)

COMPARISON_OPTIONS = (
    click.option(
        "--baseline",
        metavar="NORMALIZATION",
        shell_complete=normalizations,
        help="What differences are taken against.  [default: the study's own]",
    ),
    click.option(
        "--rope",
        type=click.FloatRange(0, 100, min_open=True),
        default=0.3,
        show_default=True,
        metavar="POINTS",
        help="Region of practical equivalence: a smaller difference is of no use.",
    ),
    click.option("--force", is_flag=True, help="Judge also runs of different code, data or source, and say so."),
)

CELL_OPTIONS = (
    click.option(
        "--max-attempts",
        type=click.IntRange(1, 100),
        default=3,
        show_default=True,
        metavar="N",
        help="Attempts at a cell that may fail through memory, device or a lost worker.",
    ),
    click.option(
        "--retry-wait",
        type=click.FloatRange(0, 86_400),
        default=5.0,
        show_default=True,
        metavar="SECONDS",
        help="Wait before the second attempt; doubled for each further one.",
    ),
    click.option("--retry-exceptions", is_flag=True, help="Try again after an exception of the trial too."),
    click.option(
        "--keep",
        type=click.Choice(["best", "last", "both", "none"]),
        default="best",
        show_default=True,
        help="Checkpoints that a finished cell leaves.",
    ),
    click.option(
        "--accelerate",
        default="auto",
        show_default=True,
        metavar="auto|plain|NAMES",
        shell_complete=accelerations,
        help="What training is sped up with; see docs/performance.md.",
    ),
    click.option(
        "--min-free",
        type=click.IntRange(0),
        default=512,
        show_default=True,
        metavar="MB",
        help="Wait while less is free on the disk.",
    ),
    click.option(
        "--share-every",
        type=click.FloatRange(1),
        default=600.0,
        show_default=True,
        metavar="SECONDS",
        help="With --storage: leave the state of running cells in the artifact store this often.",
    ),
    click.option(
        "--lease",
        type=click.FloatRange(2, 86_400),
        default=60.0,
        show_default=True,
        metavar="SECONDS",
        help="How long a silent worker keeps its cell.",
    ),
)


def cell_options(command: Command) -> Command:
    """Add the options that say how cells are run; the command gets them as keywords for `cell_settings`."""
    return _with(CELL_OPTIONS, command)


def comparison_options(command: Command) -> Command:
    """Add the options that say how settings are compared: baseline, rope (in points), force."""
    return _with(COMPARISON_OPTIONS, command)


def _with(options: Sequence[Callable[[Command], Command]], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def cell_settings(
    *,
    max_attempts: int,
    retry_wait: float,
    retry_exceptions: bool,
    keep: Any,
    accelerate: str,
    min_free: int,
    share_every: float,
    lease: float,
) -> CellSettings:
    """Return what `cell_options` were given."""
    from tracker.study.accelerations import parse_accelerations
    from tracker.study.failures import RetryPolicy
    from tracker.sweep.workers.config import CellSettings

    parse_accelerations(accelerate)
    return CellSettings(
        lease_seconds=lease,
        policy=RetryPolicy(max_attempts, retry_wait, retry_exceptions=retry_exceptions),
        keep=keep,
        accelerate=accelerate,
        min_free_bytes=min_free * 1_000_000,
        share_seconds=share_every,
    )
