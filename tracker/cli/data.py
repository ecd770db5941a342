"""`tracker data`: what images there are, where they come from, what their statistics are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tracker.cli.console import print_json, print_table
from tracker.cli.examples import examples
from tracker.cli.fetching import chosen_datasets, fetch_weights, known_datasets, weights_of_study
from tracker.cli.options import home_option, set_option, study_option
from tracker.cli.progress import shown
from tracker.cli.values import datasets
from tracker.cli.values import weights as weight_names

if TYPE_CHECKING:
    from rich.table import Table

    from tracker.study.home import Home
    from tracker.study.recipe import DatasetSpec
    from tracker.vision.images import Statistics
    from tracker.vision.progress import Progress

format_option = click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print."
)


@click.group()
def data() -> None:
    """List, fetch, measure and verify datasets."""


@data.command(
    "list",
    short_help="List datasets, and whether they are here.",
    epilog=examples(
        ("what there is", "tracker data list"),
        ("what a study needs, and whether it is here", "tracker data list --study norm-test"),
    ),
)
@study_option
@set_option
@format_option
@home_option
def list_datasets(study_name: str | None, settings: tuple[str, ...], home: str | None, form: str) -> None:
    """List datasets: the built-in ones and those of packages, or those a study uses.

    \b
    ready    packed for training
    raw      here, and packed at first use
    missing  not here; the cure says what brings it
    damaged  here, but not to be used as it is
    """
    from dataclasses import asdict

    from rich.filesize import decimal

    from tracker.study.home import Home
    from tracker.vision.datasets import describe

    place = Home.find(home)
    states = [describe(name, spec, place) for name, spec in known_datasets(study_name, settings).items()]
    if form == "json":
        print_json([asdict(state) | {"where": state.where and str(state.where)} for state in states])
        return
    table = _table("dataset", "state", "train", "test", "classes", "pixels", "size", "where")
    for state in states:
        counts = [f"{count:,}" if count is not None else "–" for count in (state.train, state.test, state.classes)]
        pixels = "x".join(str(side) for side in state.shape) if state.shape else "–"
        size = decimal(state.bytes) if state.bytes else "–"
        where = str(state.where) if state.where else "comes with an installed package"
        table.add_row(state.name, state.state, *counts, pixels, size, where)
    print_table(table)
    for state in states:
        if state.problem:
            click.echo(f"{state.problem}" + (f"\n  cure: {state.cure}" if state.cure else ""))
        if state.skipped:
            click.echo(f"{state.name}: {state.skipped:,} files passed over (hidden, or no images)")


@data.command(
    short_help="Download datasets and weights, check and pack them.",
    epilog=examples(
        ("all that a study needs, weights included", "tracker data fetch --study norm-test"),
        ("one dataset, and one network's weights", "tracker data fetch cifar10 --weights resnet18:IMAGENET1K_V1"),
        (
            "from a mirror of yours; checksums are compared all the same",
            "tracker data fetch cifar10 --mirror https://mirror.example.org/files",
        ),
    ),
)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=datasets)
@study_option
@set_option
@click.option("--all", "everything", is_flag=True, help="All built-in datasets.")
@click.option(
    "--weights",
    multiple=True,
    metavar="MODEL:WEIGHTS",
    shell_complete=weight_names,
    help="torchvision weights: resnet18:IMAGENET1K_V1.",
)
@click.option("--mirror", metavar="URL", help="Where to download from, under the published file names.")
@home_option
def fetch(
    names: tuple[str, ...],
    study_name: str | None,
    settings: tuple[str, ...],
    everything: bool,
    weights: tuple[str, ...],
    mirror: str | None,
    home: str | None,
) -> None:
    """Download datasets and torchvision weights, check and pack them.

    With --study alone, all that the study needs. An interrupted download is continued, and
    nothing is downloaded twice. Checksums are compared, also with --mirror.
    """
    from tracker.study.errors import UsageError
    from tracker.study.home import Home
    from tracker.vision.datasets import BUILT_IN, fetch_dataset, open_dataset

    known = known_datasets(study_name, settings)
    if not (names or study_name or everything or weights):
        raise UsageError("nothing is named to fetch", f"name some of {', '.join(known)}; or --study NAME, or --all")
    wanted = chosen_datasets(names, known) if names else {}
    if study_name and not names and not weights:
        wanted = known
        weights = weights_of_study(study_name, settings)
    if everything:
        wanted |= BUILT_IN
    place = Home.find(home)
    with shown() as progress:
        for model_and_weights in weights:
            fetch_weights(model_and_weights, place, mirror, progress)
        for name, spec in wanted.items():
            if spec.kind != "folder":
                fetch_dataset(spec.kind, place, progress=progress, mirror=mirror)
            opened = open_dataset(name, spec, place, progress=progress)
            click.echo(f"{name}: ready, {len(opened.train):,} + {len(opened.test):,} images", err=True)


@data.command(
    short_help="Show statistics, and what a source's make of them.",
    epilog=examples(
        ("exact statistics beside the published ones", "tracker data stats digits"),
        (
            "what a target becomes under its source's",
            "tracker data stats digits-5-9 --study quickstart --source digits-0-4",
        ),
        ("all published ones, under ImageNet's", "tracker data stats"),
    ),
)
@click.argument("name", required=False, shell_complete=datasets)
@study_option
@set_option
@click.option(
    "--source",
    default="imagenet",
    show_default=True,
    metavar="imagenet|NAME",
    shell_complete=datasets,
    help="Whose z-score is applied.",
)
@format_option
@home_option
def stats(
    name: str | None, study_name: str | None, settings: tuple[str, ...], source: str, home: str | None, form: str
) -> None:
    """Show a dataset's channel statistics, and what they become under a source's z-score.

    Exact, from the training images, beside the published ones. Without NAME: the published ones
    of all datasets that have some. Values are those of pixels in [0, 1].
    """
    from dataclasses import asdict

    from tracker.study.home import Home
    from tracker.vision.statistics import PUBLISHED, published_statistics, shifted

    rows: dict[str, dict[str, Statistics]] = {}
    if name is None:
        base, base_kind = published_statistics(source), "published"
        rows = {known: {"published": found} for known, found in PUBLISHED.items() if known != "imagenet"}
    else:
        known = known_datasets(study_name, settings)
        spec = chosen_datasets((name,), known)[name]
        place = Home.find(home)
        with shown() as progress:
            if source == "imagenet":
                base, base_kind = PUBLISHED["imagenet"], "published"
            else:
                base, base_kind = _exact(source, chosen_datasets((source,), known)[source], place, progress), "exact"
            rows = {name: {"exact": _exact(name, spec, place, progress)}}
        if spec.kind in PUBLISHED and spec.channels is None and spec.image_size is None:
            rows[name]["published"] = PUBLISHED[spec.kind]
    if form == "json":
        document = {
            "source": {"name": source, "kind": base_kind, **asdict(base)},
            "datasets": {
                row: {kind: asdict(own) | {"under_source": asdict(shifted(own, base))} for kind, own in kinds.items()}
                for row, kinds in rows.items()
            },
        }
        print_json(document)
        return
    table = _table("dataset", "statistics", "mean", "std", f"mean under {source}", f"std under {source}")
    table.add_row(source, base_kind, _values(base.mean, 4), _values(base.std, 4), *["(source)"] * 2)
    for row, kinds in rows.items():
        for kind, own in kinds.items():
            after = shifted(own, base)
            numbers = (_values(own.mean, 4), _values(own.std, 4), _values(after.mean, 2), _values(after.std, 2))
            table.add_row(row, kind, *numbers)
    print_table(table)


@data.command(
    short_help="Compare packed datasets with their checksums.",
    epilog=examples(
        ("all that are packed", "tracker data verify"),
        ("one", "tracker data verify digits"),
    ),
)
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=datasets)
@home_option
def verify(names: tuple[str, ...], home: str | None) -> None:
    """Compare packed datasets with their SHA-256: all of them, or those named.

    Ends with exit code 1 if one is damaged.
    """
    from rich.filesize import decimal

    from tracker.study.errors import DataDamaged
    from tracker.study.home import Home
    from tracker.vision.datasets import packed_folders
    from tracker.vision.packed import verify_packed

    place = Home.find(home)
    damaged = []
    folders = packed_folders(place, names)
    with shown() as progress:
        for folder in folders:
            try:
                manifest = verify_packed(folder, progress)
                click.echo(f"{folder.name}: whole, {decimal(manifest.bytes)}, fingerprint {manifest.fingerprint}")
            except DataDamaged as error:
                click.echo(f"{folder.name}: DAMAGED")
                damaged.append(error)
    if damaged:
        raise DataDamaged("\n".join(error.message for error in damaged), damaged[0].cure)
    if not folders:
        click.echo(f"nothing is packed under {place.data}", err=True)


def _exact(name: str, spec: DatasetSpec, home: Home, progress: Progress) -> Statistics:
    from tracker.vision.datasets import open_dataset

    return open_dataset(name, spec, home, progress=progress).statistics


def _values(numbers: tuple[float, ...], digits: int) -> str:
    return ", ".join(f"{number:.{digits}f}" for number in numbers)


def _table(*columns: str) -> Table:
    """Return an empty table; on a narrow terminal only its last column wraps."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        last = column == columns[-1]
        table.add_column(column, no_wrap=not last, overflow="fold")
    return table
