"""`tracker bench`: how fast this machine trains, beside the reference study's way."""

from __future__ import annotations

import click

from tracker.cli.console import print_json, stderr_console
from tracker.cli.examples import examples
from tracker.cli.values import accelerations, devices

MODELS = "resnet18,resnet50,densenet121,densenet161"
DATASETS = "cifar10,cifar100,svhn,tiny-imagenet-200"
USUAL = {"cpu": ("resnet18", "cifar10", 4), "cuda": (MODELS, DATASETS, 40)}
"""Models, datasets and batches of an epoch, by kind of device."""


@click.command(
    short_help="Measure this machine beside the reference study's way.",
    epilog=examples(
        ("a minute on two cores: resnet18 at 32 x 32", "tracker bench"),
        ("the table of the reference study's grid, on a GPU", f"tracker bench --device cuda --models {MODELS}"),
        ("for a file of record", "tracker bench --times 5 --format json > bench.json"),
    ),
)
@click.option("--models", metavar="NAMES", help="Of torchvision, with commas.  [default: resnet18; on CUDA all four]")
@click.option(
    "--datasets",
    metavar="NAMES",
    help="Whose shape images have, with commas: cifar10, cifar100, svhn, tiny-imagenet-200.  [default: cifar10; on "
    "CUDA all]",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda|cuda:N",
    shell_complete=devices,
    help="What is measured.",
)
@click.option(
    "--accelerate",
    default="auto",
    show_default=True,
    metavar="auto|plain|NAMES",
    shell_complete=accelerations,
    help="What the engine uses, as in `tracker sweep`.",
)
@click.option("--batch-size", type=click.IntRange(2, 65_536), default=256, show_default=True, help="Images a step.")
@click.option("--batches", type=click.IntRange(1, 10_000), help="Of an epoch.  [default: 4; on CUDA 40]")
@click.option(
    "--times",
    type=click.IntRange(1, 1_000),
    default=3,
    show_default=True,
    help="Rounds, after one that does not count.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["markdown", "json"]),
    default="markdown",
    show_default=True,
    help="How to print.",
)
def bench(
    models: str | None,
    datasets: str | None,
    device: str,
    accelerate: str,
    batch_size: int,
    batches: int | None,
    times: int,
    form: str,
) -> None:
    """Measure training on this machine, side by side with the reference study's way of doing it.

    The reference is a small, faithful implementation: images through PIL one by one in a loader's
    processes, an eager network in fp32, a wait for the device at each step. Both take turns, round by
    round; ratios are medians over rounds. Images are random bytes of the datasets' shapes, so nothing
    is downloaded. Leave the machine alone meanwhile.
    """
    from tracker.bench.measure import measure
    from tracker.bench.report import document, markdown
    from tracker.bench.sides import loader_workers
    from tracker.bench.subject import SHAPES
    from tracker.study.errors import UsageError
    from tracker.training.device import resolve_device
    from tracker.training.execution import parse_execution
    from tracker.vision.models import check_model

    place = resolve_device(device)
    usual_models, usual_datasets, usual_batches = USUAL[place.type]
    chosen = [name.strip() for name in (models or usual_models).split(",")]
    shapes = [name.strip() for name in (datasets or usual_datasets).split(",")]
    for model in chosen:
        check_model(model)
    for name in shapes:
        if name not in SHAPES:
            raise UsageError(f"{name!r} is not a dataset of the bench", f"accepted: {', '.join(SHAPES)}")
    execution = parse_execution(accelerate, place)
    settings = {"batch_size": batch_size, "batches": batches or usual_batches, "times": times}
    console = stderr_console()
    found = list(
        measure(chosen, shapes, place, execution, say=lambda line: console.print(line, highlight=False), **settings)
    )
    result = document(found, place, execution, settings, loader_workers())
    if form == "json":
        print_json(result)
    else:
        click.echo(markdown(result))
