"""`tracker export`: a study's winner as a folder that predicts by itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracker.cli.examples import examples
from tracker.cli.options import RANKING_METRIC, home_option
from tracker.cli.values import conditions as condition_values
from tracker.cli.values import finished_cells, study_files

if TYPE_CHECKING:
    from tracker.deploy.choosing import Choice
    from tracker.deploy.exporting import Export


@click.command(
    short_help="Export a study's winner, normalization inside.",
    epilog=examples(
        ("the best network of a study", "tracker export --study quickstart -o winner"),
        (
            "one cell, by its name",
            "tracker export --study quickstart --cell resnet18/digits-5-9/full/minmax/seed=1 -o winner",
        ),
        (
            "the best on one dataset, as ONNX",
            "tracker export --study norm-test --where dataset=cifar10 --format onnx -o winner",
        ),
        ("to be served by MLflow, and registered", "tracker export --study quickstart --format mlflow -o served"),
    ),
)
@click.option(
    "--study",
    "study_name",
    required=True,
    metavar="NAME|PATH",
    shell_complete=study_files,
    help="A study that was swept.",
)
@click.option(
    "--cell",
    default="best",
    show_default=True,
    metavar="best|ID|NAME",
    shell_complete=finished_cells,
    help="Which cell: by id, its first digits or its name; or the best: the configuration with the highest mean "
    "over seeds, and of its seeds the highest.",
)
@click.option(
    "-o", "--output", "folder", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Write into DIR."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["torch", "onnx", "mlflow"]),
    default="torch",
    show_default=True,
    help="A torch.export archive, an ONNX file, or an MLflow model, which is registered as well.",
)
@click.option(
    "--metric",
    type=RANKING_METRIC,
    default="best_acc",
    show_default=True,
    help="Which accuracy decides, and of which epoch the network is.",
)
@click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=condition_values,
    help="Take the best of these cells only: dataset=cifar10. Repeat for more.",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier export in DIR.")
@home_option
def export(
    study_name: str,
    cell: str,
    folder: Path,
    form: str,
    metric: str,
    conditions: tuple[str, ...],
    overwrite: bool,
    home: str | None,
) -> None:
    """Export a cell's network with its resize and normalization inside: raw images in, probabilities out.

    DIR then holds the network, model.json, which says all that is known of it, and a README.md with
    the lines that load it without this program. Before it is there, the same images go through the
    file and through the network that was evaluated; the difference is printed, and a file that
    differs is not kept. With --format mlflow it is registered under the study's name, with the
    alias `champion`.
    """
    from tracker.compare.outputs import swept_study
    from tracker.deploy.choosing import choose
    from tracker.deploy.exporting import check_target, export
    from tracker.deploy.pipeline import check_exporter
    from tracker.study.errors import UsageError
    from tracker.study.home import Home
    from tracker.study.load import swept_name
    from tracker.study.printing import harmless
    from tracker.tracking.reading import read_runs
    from tracker.tracking.server.addresses import reading_uri
    from tracker.tracking.server.session import tracking_session

    where = {}
    for condition in conditions:
        key, equals, value = condition.partition("=")
        if not equals:
            raise UsageError(f"--where {condition}: has no value", "accepted: KEY=VALUE, as dataset=cifar10")
        where[key] = value
    check_target(folder, overwrite)
    check_exporter(form)
    study_name = swept_name(study_name)
    place = Home.find(home)

    def say(message: str) -> None:
        click.echo(harmless(message), err=True)

    def carry_out(uri: str) -> Export:
        study, _ = swept_study(uri, study_name)
        choice = choose(study, read_runs(uri, study_name), cell, metric, where)
        for reason in choice.reasons:
            say(reason)
        done = export(choice, study_name, form, folder, place, uri, overwrite=overwrite, say=say)  # type: ignore[arg-type]
        for line in done.verification.lines():
            say(line)
        if form == "mlflow":
            _register(uri, study_name, choice, done)
        return done

    uri = reading_uri(place)  # first of all: a home in which nothing has run needs no server
    if form == "mlflow":
        with tracking_session(place, say) as uri:
            done = carry_out(uri)
    else:
        done = carry_out(uri)
    click.echo(str(done.folder))


def _register(uri: str, study_name: str, choice: Choice, done: Export) -> None:
    """Register an export and say what became of it."""
    from tracker.tracking.registry import CELL_TAG, register

    accuracy = done.description["accuracy"]
    count = f"n = {accuracy['test_images']} test images" if accuracy["test_images"] else "n is not known"
    description = (
        f"Cell {choice.cell.id}, {choice.cell.name}. Test accuracy {100 * accuracy['value']:.2f} %, {count}, "
        f"{accuracy['rule']}."
    )
    tags = {
        CELL_TAG: f"{choice.cell.id} {choice.cell.name}",
        "tracker.study": study_name,
        "tracker.accuracy": f"{accuracy['value']:.6f} {accuracy['metric']}",
    }
    found = register(uri, study_name, done.folder, choice.run.run_id, done.content, tags, description)
    what = "registered as" if found.is_new else "the same network is registered already:"
    moved = f"; `champion` was {found.previous}" if found.previous else ""
    click.echo(f"{what} {study_name} version {found.version}, alias champion{moved}", err=True)
    click.echo(
        f"to serve it: mlflow models serve -m {done.folder} --env-manager local --host 127.0.0.1 --port 5001", err=True
    )
