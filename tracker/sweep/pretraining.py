"""Pre-train a source as a tracked run, with the statistics it will be known by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import uuid4

import torch
from rich.console import Console

from tracker.figures.curve import learning_curve
from tracker.study.errors import TrackingError
from tracker.study.extensions import extension_versions
from tracker.study.home import Home
from tracker.study.recipe import Recipe
from tracker.study.study import Cell
from tracker.sweep.events import CellDone, CellStarted, EpochDone, Event
from tracker.sweep.progress import make_display
from tracker.sweep.sources import Pretrained, SourceJob, jobs_of, pretrain
from tracker.tracking.environment import environment_tags
from tracker.tracking.run import open_run
from tracker.tracking.states import fetch_source
from tracker.tracking.writing import SOURCES
from tracker.training.device import describe_device
from tracker.training.trial import EpochResult


def provide_sources(cells: Sequence[Cell], home: Home, device: torch.device, uri: str, console: Console) -> None:
    """See that the sources that cells start from are here: fetched if another machine made them, else pre-trained."""
    for job in jobs_of(cells):
        if not obtain_source(job, home, uri):
            with make_display(console, total=1, what=f"source {job.name}") as display:
                pretrain_tracked(job, home, device, uri, display.show)


def obtain_source(job: SourceJob, home: Home, uri: str) -> bool:
    """Say whether a source is here, having fetched it from MLflow if it is there.

    Two machines that pre-trained it each for itself might differ in a few bits.
    """
    path = job.path(home)
    if path.is_file():
        return True
    home.make(path.parent)
    try:
        return fetch_source(uri, job.identity, path)
    except TrackingError:  # MLflow is away: then it is not there
        return False


def pretrain_tracked(
    job: SourceJob, home: Home, device: torch.device, uri: str, show: Callable[[Event], None]
) -> Pretrained:
    """Pre-train one source and log it: its recipe, each epoch, u0 and std0, and the checkpoint.

    Args:
        show: told of the start, each epoch and the end.

    Writes: the source's checkpoint under `home.sources`, and its run.
    """
    name = f"source {job.name} ({job.recipe.model})"
    run = open_run(
        uri,
        home,
        SOURCES,
        f"{job.recipe.model}/{job.name}",
        key=f"source-{job.identity}-{uuid4().hex[:8]}",
        params=job.recipe.model_dump(mode="json"),
        tags=environment_tags()
        | extension_versions(job.recipe, job.dataset)
        | {"tracker.kind": "source", "tracker.source_id": job.identity, "device": describe_device(device)},
        experiment_tags={"mlflow.note.content": "Networks pre-trained here, each with the statistics it was fed with."},
    )
    show(CellStarted("source", job.identity, name, job.recipe.epochs, 1))

    def on_epoch(result: EpochResult) -> None:
        run.log_epoch(result.epoch, {**result.metrics, **result.selection.metrics()})
        show(EpochDone.of(job.identity, name, job.recipe.epochs, result))

    try:
        made = pretrain(job, home, device, on_epoch)
    except BaseException as error:
        run.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED", note=str(error))
        raise
    run.set_tags({"u0": numbers(made.facts.target.mean), "std0": numbers(made.facts.target.std)})
    run.note(describe(job.recipe, made))
    with home.scratch("source") as folder:
        picture = folder / "learning_curve.png"
        curves = {key: [metrics[key] for metrics in made.history] for key in made.history[0]}
        learning_curve(curves, picture, title=name)
        run.log_file(picture, "figures")
    run.log_file(made.path, "checkpoint")
    run.finish("FINISHED")
    show(CellDone(job.identity, name, made.selection, made.seconds))
    return made


def numbers(values: tuple[float, ...]) -> str:
    """Return `0.4914, 0.4822, 0.4465`."""
    return ", ".join(f"{value:.4f}" for value in values)


def describe(recipe: Recipe, made: Pretrained) -> str:
    """Return the run's description for the MLflow UI."""
    facts = made.facts
    return (
        f"{recipe.model} trained from random weights on **{recipe.dataset}** "
        f"({len(facts.classes)} classes, {facts.image_size} x {facts.image_size}, {facts.channels} channels).\n\n"
        f"Its images were normalized with their own statistics, which are now the source's: "
        f"u0 = ({numbers(facts.target.mean)}), std0 = ({numbers(facts.target.std)}). "
        f"Normalization `pretrain` uses these.\n\n"
        f"Test accuracy after the last epoch: {facts.test_acc:.2%}."
    )
