"""`tracker advise`: which normalization for a folder of images."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Literal

import click

from tracker.cli.console import echo_painted, print_json, stderr_console, wide_console
from tracker.cli.durations import Duration
from tracker.cli.examples import examples
from tracker.cli.options import device_option, home_option, weights_dir_option
from tracker.cli.progress import shown
from tracker.cli.values import sources

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

    from tracker.advise.advising import Advice


@click.command(
    short_help="Recommend a normalization for a folder of images.",
    epilog=examples(
        ("only look: classes, sizes, statistics, what will bite", "tracker advise photos --look"),
        ("ten minutes of paired runs, then a recommendation", "tracker advise photos --budget 10m"),
        (
            "another network, of which only the head learns",
            "tracker advise photos --source resnet50 --tune head --budget 30m",
        ),
        ("for a program", "tracker advise photos --format json"),
    ),
)
@click.argument("path", metavar="PATH", type=click.Path())
@click.option(
    "--source",
    default="resnet18",
    show_default=True,
    metavar="MODEL|NAME|NAME:MODEL",
    shell_complete=sources,
    help="What is fine-tuned: a torchvision model with its ImageNet weights, or a source made by `tracker pretrain`.",
)
@click.option(
    "--tune",
    type=click.Choice(["full", "head", "head+bn"]),
    default="full",
    show_default=True,
    help="What learns: everything, the new head alone, or the head and BatchNorm.",
)
@click.option(
    "--budget",
    type=Duration(most="30d"),
    default="10m",
    show_default=True,
    metavar="TIME",
    help="How long it may take, earlier runs on the same question counted: 90s, 10m, 2h.",
)
@click.option(
    "--image-size",
    type=click.IntRange(8, 1024),
    metavar="N",
    help="Store images at N x N.  [default: as they are if small and equal, else 32 to 64]",
)
@click.option(
    "--rope",
    type=click.FloatRange(0, 100, min_open=True),
    default=1.0,
    show_default=True,
    metavar="POINTS",
    help="A smaller difference makes no difference.",
)
@click.option("--skip-unreadable", is_flag=True, help="Leave out files that cannot be read as an image.")
@click.option("--look", is_flag=True, help="Only look through the folder; train nothing.")
@click.option("--again", is_flag=True, help="Measure and plan anew; runs of the earlier plan are left.")
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to print."
)
@device_option
@weights_dir_option
@home_option
def advise(
    path: str,
    source: str,
    tune: Literal["full", "head", "head+bn"],
    budget: float,
    image_size: int | None,
    rope: float,
    skip_unreadable: bool,
    look: bool,
    again: bool,
    form: Literal["text", "json"],
    device: str | None,
    weights_dir: Path | None,
    home: str | None,
) -> None:
    """Recommend a normalization for the images in PATH.

    PATH holds train/CLASS/* and test/CLASS/*, or CLASS/* alone. It is looked through first: classes,
    sizes, statistics and how far they are from the source's, and what will bite. Then short runs of
    each normalization, paired by seed, are compared; more are added while that is undecided and the
    budget lasts. The end is one setting, the difference with its interval, how sure that is, and the
    code. Ctrl-C stops cleanly; the same command goes on, with a larger --budget for longer.
    """
    started = time.monotonic()
    import signal
    from pathlib import Path

    from tracker.advise.advising import Means, require_trainable
    from tracker.advise.advising import advise as answer
    from tracker.advise.document import advice_document, look_document
    from tracker.advise.request import Request, resolve_root
    from tracker.advise.showing import advice_view, look_view
    from tracker.advise.source import choose_source
    from tracker.study.home import Home
    from tracker.sweep.progress import say_on
    from tracker.vision.inspection.inspecting import inspect_folder

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM stops as Ctrl-C does
    place, console = Home.find(home), stderr_console()
    root = resolve_root(Path(path))
    chosen = choose_source(source, place, weights_dir)
    if not look:
        chosen.require()
    request = Request(root, chosen, tune, image_size, skip_unreadable)
    with shown(console) as progress:
        inspection = inspect_folder(root, spec=request.spec, source=chosen.statistics, progress=progress)
    if form == "text":
        _print(look_view(inspection, chosen))
    elif look:
        print_json(look_document(inspection, request))
    require_trainable(inspection, skip_unreadable)
    if look:
        return
    means = Means(
        home=place,
        budget=budget,
        started=started,
        rope=rope / 100,
        console=console,
        say=say_on(console),
        working=partial(shown, console),
        device=device,
        weights_dir=weights_dir,
        again=again,
    )
    advice = answer(request, inspection, means)
    _tell_failures(advice)
    if advice.outcome.ending in ("stopped", "paused", "elsewhere", "broken"):
        sys.exit(_tell_cut(advice))
    if form == "text":
        _print(advice_view(advice))
    else:
        print_json(advice_document(advice))
    sys.exit(int(advice.recommendation.certainty == "unfinished"))


def _print(view: RenderableType) -> None:
    """Print to stdout; without a terminal as wide as it takes, and without spaces at the ends of lines."""
    console = wide_console()
    with console.capture() as printed:
        console.print(view, crop=False)  # code is never cut
    echo_painted("".join(f"{line.rstrip()}\n" for line in printed.get().splitlines()), end=False)


def _tell_failures(advice: Advice) -> None:
    for name, reason in advice.outcome.failures:
        click.echo(f"failed: {name}: {reason}", err=True)


def _tell_cut(advice: Advice) -> int:
    """Say on stderr what keeps a round from ending; return the exit code."""
    study = advice.names.study
    sentence = {
        "stopped": "stopped; the same command goes on where the runs stand",
        "paused": f"study {study} was paused; the same command goes on",
        "elsewhere": f"another process works on study {study}; when it has ended, the same command gives its answer",
        "broken": "the workers ended before the runs were done, see above; the same command goes on where they stand",
    }[advice.outcome.ending]
    click.echo(sentence, err=True)
    return 1
