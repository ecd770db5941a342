"""`tracker bench`: how fast this machine trains, beside the reference study's way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tracker.cli.console import print_json, stderr_console
from tracker.cli.examples import examples
from tracker.cli.values import accelerations, devices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import torch

    from tracker.study.recipe import Precision
    from tracker.training.execution import Execution

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
        ("how cost grows with images, classes, pixels, trials", "tracker bench --scaling -o scaling.svg"),
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
@click.option(
    "--precision",
    type=click.Choice(["fp32", "tf32", "bf16"]),
    default="fp32",
    show_default=True,
    help="What the engine computes in, as recipe.precision; the reference stays as it is.",
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
    "--scaling",
    is_flag=True,
    help="How the engine's cost grows instead, for one model: with images, classes, image size, and trials at once.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Draw --scaling into FILE too, .svg or .png.",
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
    precision: Precision,
    batch_size: int,
    batches: int | None,
    times: int,
    scaling: bool,
    output: str | None,
    form: str,
) -> None:
    """Measure training on this machine, side by side with the reference study's way of doing it.

    The reference is a small, faithful implementation: images through PIL one by one in a loader's
    processes, an eager network as torch comes, a wait for the device at each step. Both take turns,
    round by round; ratios are medians over rounds. Each network is measured with what a sweep would
    train it with: where an acceleration fails its check, the table says what was used instead.
    Images are random bytes of the datasets' shapes, so nothing is downloaded. Leave the machine
    alone meanwhile. Each number is told on stderr as soon as it is there; Ctrl-C or SIGTERM ends
    with a table of those.
    """
    import signal
    from pathlib import Path

    from tracker.bench.machine import as_in_a_worker
    from tracker.study.errors import UsageError
    from tracker.training.device import resolve_device
    from tracker.training.execution import parse_execution
    from tracker.training.precision import require_precision, slowness

    if output is not None and not (scaling and Path(output).suffix in (".svg", ".png")):
        raise UsageError(
            f"-o {output}: only --scaling is drawn, as .svg or .png", "tracker bench --scaling -o scaling.svg"
        )
    place = resolve_device(device)
    require_precision(precision, place)
    usual_models, usual_datasets, usual_batches = USUAL[place.type]
    chosen, shapes = _chosen(models or usual_models), _chosen(datasets or usual_datasets)
    _check(chosen, shapes)
    if scaling and models is None:
        del chosen[1:]
    if scaling and datasets is None:
        del shapes[1:]
    execution = parse_execution(accelerate, place)
    settings = {"batch_size": batch_size, "batches": batches or usual_batches, "times": times}
    console = stderr_console()

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    if scaling and (len(chosen) > 1 or len(shapes) > 1):
        raise UsageError("--scaling is of one model on one dataset", "--models resnet18 --datasets cifar10")
    if slow := slowness(precision, place):
        say(slow)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM stops as Ctrl-C does
    with as_in_a_worker():
        if scaling:
            results = _growth(chosen[0], shapes[0], place, execution, settings, precision, say)
        else:
            results = _both_ways(chosen, shapes, place, execution, settings, precision, say)
        _show(results, say, form, output)


def _show(results: Iterator[dict[str, Any]], say: Callable[[str], None], form: str, output: str | None) -> None:
    """Print the last of the documents; where there is no last one, as far as it goes, and how it ended.

    Args:
        results: each has what the one before it has, and more.

    Writes: `output`, if given.
    """
    found: dict[str, Any] | None = None
    try:
        for so_far in results:
            found = so_far
    except BaseException as error:
        if found is not None:
            reason = "stopped" if isinstance(error, KeyboardInterrupt) else str(error).partition("\n")[0]
            _print({**found, "ended_early": reason or type(error).__name__}, say, form, output)
        raise
    if found is not None:
        _print(found, say, form, output)


def _print(found: Mapping[str, Any], say: Callable[[str], None], form: str, output: str | None) -> None:
    """Print a document.

    Writes: `output`, if given.
    """
    from pathlib import Path

    from tracker.bench.report import markdown
    from tracker.bench.scaling_report import scaling_markdown, scaling_picture

    if output is not None:
        for path in scaling_picture(found, Path(output)):
            say(f"drawn: {path}")
    if form == "json":
        print_json(found)
    else:
        click.echo(scaling_markdown(found) if "terms" in found else markdown(found))


def _chosen(names: str) -> list[str]:
    return [name.strip() for name in names.split(",")]


def _check(models: list[str], datasets: list[str]) -> None:
    """See that there are such models and such datasets.

    Raises:
        UsageError: there are not.
    """
    from tracker.bench.subject import SHAPES
    from tracker.study.errors import UsageError
    from tracker.vision.models import check_model

    for model in models:
        check_model(model)
    for name in datasets:
        if name not in SHAPES:
            raise UsageError(f"{name!r} is not a dataset of the bench", f"accepted: {', '.join(SHAPES)}")


def _both_ways(
    models: list[str],
    datasets: list[str],
    device: torch.device,
    execution: Execution,
    settings: dict[str, int],
    precision: Precision,
    say: Callable[[str], None],
) -> Iterator[dict[str, Any]]:
    """Measure the engine beside the reference, and yield a document after each piece."""
    from tracker.bench.energy import find_counter
    from tracker.bench.measure import measure
    from tracker.bench.report import document, heading, line_of, row_of
    from tracker.bench.sides import loader_workers

    counter = find_counter(device)
    head = heading(device, execution, settings, loader_workers(), precision, counter)
    found, rows = [], []
    for each in measure(models, datasets, device, execution, precision=precision, counter=counter, say=say, **settings):
        found.append(each)
        rows.append(row_of(each, head))
        yield document(head, rows, found)
        say(line_of(rows[-1]))  # behind the document, so that what was told is in it wherever this ends


def _growth(
    model: str,
    dataset: str,
    device: torch.device,
    execution: Execution,
    settings: dict[str, int],
    precision: Precision,
    say: Callable[[str], None],
) -> Iterator[dict[str, Any]]:
    """Measure how cost grows, and yield a document after each round."""
    from tracker.bench.machine import facts
    from tracker.bench.scaling import measure_scaling
    from tracker.bench.scaling_report import scaling_document

    machine = facts(device)
    for terms in measure_scaling(model, dataset, device, execution, precision=precision, say=say, **settings):
        yield scaling_document(terms, machine, model, dataset, execution, settings, precision)
