"""`tracker pretrain`: make a source, with the statistics it was fed with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracker.cli.console import stderr_console
from tracker.cli.examples import examples
from tracker.cli.options import device_option, home_option, set_option
from tracker.cli.progress import shown
from tracker.cli.values import datasets, models, study_files

if TYPE_CHECKING:
    from tracker.study.study import Study


@click.command(
    short_help="Pre-train a source and record its statistics.",
    epilog=examples(
        ("the sources a study starts from", "tracker pretrain --study quickstart"),
        (
            "one of your own, for `source: my-digits`",
            "tracker pretrain --name my-digits --dataset digits --set epochs=6 --set batch_size=64 --set flip=false",
        ),
    ),
)
@click.option(
    "--study",
    "study_name",
    metavar="NAME|PATH",
    shell_complete=study_files,
    help="Pre-train every source of this study.",
)
@click.option("--name", metavar="NAME", help="Without --study: the name studies will know the source by.")
@click.option(
    "--model",
    default="resnet18",
    show_default=True,
    metavar="MODEL",
    shell_complete=models,
    help="Without --study: a torchvision classifier.",
)
@click.option(
    "--dataset", metavar="NAME", shell_complete=datasets, help="Without --study: a built-in dataset to train on."
)
@set_option
@device_option
@click.option("--again", is_flag=True, help="Train it anew where it is already there.")
@home_option
def pretrain(
    study_name: str | None,
    name: str | None,
    model: str,
    dataset: str | None,
    settings: tuple[str, ...],
    device: str | None,
    again: bool,
    home: str | None,
) -> None:
    """Pre-train a source from random weights and record its u0 and std0.

    Its images are normalized with their own statistics; these go with the checkpoint, and are what
    normalization `pretrain` uses when the source is fine-tuned. `tracker sweep` does this by itself
    for the sources a study defines.
    """
    if (study_name is None) == (name is None) or (name is None) != (dataset is None):
        raise click.UsageError("give --study, or --name and --dataset")

    from tracker.study.home import Home
    from tracker.study.load import load_study
    from tracker.sweep.preflight import check_models, open_into
    from tracker.sweep.pretraining import pretrain_tracked
    from tracker.sweep.progress import make_display, say_on
    from tracker.sweep.sources import jobs_of
    from tracker.tracking.server.session import tracking_session
    from tracker.training.device import resolve_device

    if name is not None and dataset is not None:
        study = _study_of_one(name, model, dataset, settings)
    else:
        assert study_name is not None
        study = load_study(study_name, settings)
    place = Home.find(home)
    console = stderr_console()
    check_models(study)
    resolved = resolve_device(device or study.device)
    jobs = [job for job in jobs_of(study.cells) if again or not job.path(place).is_file()]
    with shown(console) as progress:
        for job in jobs:
            open_into({}, job.recipe.dataset, job.dataset, place, progress)
    if not jobs:
        say_on(console)("nothing to do: the sources are there (--again trains them anew)")
        return
    with tracking_session(place, say_on(console)) as uri:
        for job in jobs:
            with make_display(console, total=1, what=f"source {job.name}") as display:
                made = pretrain_tracked(job, place, resolved, uri, display.show)
            click.echo(f"{job.name}: {made.path}")


def _study_of_one(name: str, model: str, dataset: str, settings: tuple[str, ...]) -> Study:
    """Return a study whose one source is what the options describe."""
    from tracker.study.load import parse_study
    from tracker.study.overrides import put_setting

    document = {
        "name": name,
        "question": "What does this network bring along?",
        "recipe": {"model": model, "dataset": dataset, "source": name, "normalization": "pretrain"},
        "axes": {"seed": [0]},
        "sources": {name: {"dataset": dataset}},
    }
    for entry in settings:
        put_setting(document, entry if "." in entry.partition("=")[0] else f"sources.{name}.{entry}")
    return parse_study(document, file="tracker pretrain")
