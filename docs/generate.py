"""Write docs/reference.md from the code, so that it cannot drift: `python docs/generate.py [--check]`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tracker.cli.main import cli
from tracker.study.explaining import type_words
from tracker.study.load import SOURCE_KEYS
from tracker.study.metrics import METRICS, RANKING_METRICS, SELECTION
from tracker.study.recipe import NORMALIZATIONS, DatasetSpec, Recipe
from tracker.study.shifts import STEPS
from tracker.study.study import Study

REFERENCE = Path(__file__).with_name("reference.md")
WIDTH = 100

EXIT_CODES = {
    0: "done",
    1: "failed, or stopped by Ctrl-C before the end; the message on stderr says what is wrong and what to do",
    2: "wrong usage: the command line, or a study file",
}

ENVIRONMENT = {
    "TRACKER_HOME": "Folder for everything kept locally, where `--home` is not given. Default: `./mlruns`.",
    "TRACKER_STORAGE": "URL of the trial database, where `--storage` is not given. It may hold a password, which an "
    "argument may not. Default: `trials.db` in the home folder.",
    "PGPASSWORD": "PostgreSQL's password, for a URL without one; `~/.pgpass` does as well.",
    "MLFLOW_TRACKING_URI": "An MLflow server to log to and read from, instead of the local one.",
    "TRACKER_UI_URL": "Where people open MLflow's pages, if not at the address that programs use; links are printed "
    "with it.",
    "MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_TOKEN": "Credentials for that server.",
    "MLFLOW_BACKEND_STORE_URI, MLFLOW_ARTIFACTS_DESTINATION": "Where the server that is started here keeps runs (a "
    "PostgreSQL URL, which may hold a password) and their files (`s3://BUCKET/...`). Default: the home folder.",
    "MLFLOW_FLASK_SERVER_SECRET_KEY, MLFLOW_AUTH_ADMIN_USERNAME, MLFLOW_AUTH_ADMIN_PASSWORD": "What a server with "
    "`--team` must be given; the name is `admin` unless it says otherwise.",
    "TRACKER_ARTIFACT_FOLDER": "A folder where a tracking server keeps its runs' files and that this machine shares; "
    "other folders that a server names are not used.",
    "NAME_FILE": "For each variable that may hold a secret (`TRACKER_STORAGE`, `PGPASSWORD`, those of MLflow with a "
    "password, token, key or database URL, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`): a file that holds it.",
    "MLFLOW_HTTP_REQUEST_TIMEOUT, MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "How long to "
    "wait for a server. Without them a call that hangs is given up after seconds, and its results wait in the journal.",
    "RAY_ADDRESS": "The Ray cluster of `--executor ray`, where `--address` is not given.",
    "RAY_AUTH_MODE, RAY_AUTH_TOKEN": "How that cluster is entered: `token` or `disabled`, and the token.",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "Set by the program for a Ray that it starts itself, which then keeps to the "
    "loopback address; a value of yours is not looked at.",
    "TRACKER_CACHE_DIR, XDG_CACHE_HOME": "Where code compiled for this machine is kept, for this user alone. Default: "
    "`~/.cache/norm-tracker`.",
    "CUDA_MPS_PIPE_DIRECTORY": "Where NVIDIA's Multi-Process Service is found, as CUDA itself finds it. Default: "
    "`/tmp/nvidia-mps`.",
    "CC": "The C compiler that makes the input pipeline; otherwise `cc`, `gcc` or `clang`, and none is needed.",
    "OMP_NUM_THREADS": "The most CPU threads a worker uses; otherwise workers share the cores out.",
    "TORCH_HOME": "Where torch hub's cache lies, in which torchvision's weights are looked for too.",
    "DISPLAY, WAYLAND_DISPLAY": "On Linux, `tracker ui` opens a browser only where one of them is set.",
    "NO_COLOR, FORCE_COLOR": "Set to anything: no colour anywhere; colour into a pipe too.",
    "TERM": "With `dumb`: neither colours nor bars.",
    "COMP_LINE, COMP_WORDBREAKS": "Set by a shell that completes a command line.",
}


def reference() -> str:
    """Return the whole page."""
    parts = [
        "# Reference",
        "Written by `docs/generate.py` from the code; `make docs` brings it up to date.",
        "[Commands](#commands) · [Study files](#study-files) · [Recipe](#recipe) · [Datasets](#datasets) · "
        "[Sources](#sources) · [Normalizations](#normalizations) · [Metrics](#metrics) · [Exit codes](#exit-codes) · "
        "[Environment](#environment)",
        "## Commands",
        *commands(cli, ["tracker"]),
        "## Study files",
        "A YAML file in `experiments/`, or anywhere with its path; [studies.md](studies.md) is the guide.",
        table(("key", "takes", "default", "meaning"), fields(Study, name="its file's name")),
        "## Recipe",
        "Keys of `recipe` and of `axes`. A default is the reference study's value; defaults never change.",
        table(("key", "takes", "default", "meaning"), fields(Recipe)),
        "## Datasets",
        "Keys of each entry of `datasets`.",
        table(("key", "takes", "default", "meaning"), fields(DatasetSpec)),
        "## Sources",
        "Keys of each entry of `sources`: "
        + ", ".join(f"`{key}`" for key in SOURCE_KEYS)
        + ". They mean what they mean in a recipe; `dataset` is required, and `seed` is 0 unless given.",
        "## Normalizations",
        table(("name", "meaning"), [(f"`{name}`", meaning) for name, meaning in NORMALIZATIONS.items()]),
        "An installed package adds one with an entry point of the group `tracker.normalizations`, a model with "
        "`tracker.models`, a kind of dataset with `tracker.datasets`: [your own parts](extending.md).",
        "## Shifts",
        "Steps of the recipe key `shift`, joined by `+` and done from left to right. A number may differ by channel: "
        "`gain=1:0.7:0.4`.",
        table(("step", "what the sensor does"), [(f"`{step}`", meaning) for step, meaning in STEPS.items()]),
        "## Metrics",
        "As logged in MLflow. Accuracies are fractions; percent only where printed. Epochs count from 0.",
        table(
            ("name", "unit", "logged once a", "meaning"),
            [(f"`{metric.name}`", metric.unit, metric.scope, metric.meaning) for metric in METRICS.values()],
        ),
        "`--metric` takes those that a leaderboard can be made of: "
        + "; ".join(f"`{name}`: {SELECTION[name]}" for name in RANKING_METRICS)
        + ".",
        "## Exit codes",
        table(("code", "meaning"), [(str(code), meaning) for code, meaning in EXIT_CODES.items()]),
        "## Environment",
        table(
            ("variable", "meaning"),
            [(", ".join(f"`{name}`" for name in names.split(", ")), meaning) for names, meaning in ENVIRONMENT.items()],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def commands(command: click.Command, path: list[str], parent: click.Context | None = None) -> Iterator[str]:
    """Yield a heading and the help of a command and of those below it."""
    context = click.Context(
        command,
        info_name=path[-1],
        parent=parent,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    help_text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    yield f"### {' '.join(path)}"
    yield f"```text\n{help_text}\n```"
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from commands(child, [*path, name], context)


def fields(model: type[BaseModel], **defaults: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, type with range, default and meaning of each key.

    Args:
        defaults: what stands for a key that the loader fills in.
    """
    for name, field in model.model_fields.items():
        yield f"`{name}`", takes(field), defaults.get(name) or default(field), str(field.description)


def takes(field: FieldInfo) -> str:
    """Say what a key takes, with its range."""
    bounds: dict[str, Any] = {}
    for constraint in field.metadata:
        bounds |= {name: getattr(constraint, name) for name in ("ge", "gt", "le", "lt") if hasattr(constraint, name)}
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    shown = " and ".join(f"{signs[name]} {number(bound)}" for name, bound in bounds.items())
    words, null, _ = type_words(field.annotation).partition(" or null")
    return f"{words}{f' {shown}' if shown else ''}{null}"


def number(bound: float) -> str:
    """Write a bound; the largest seed as the power of two it is."""
    return "2^63" if bound == 2**63 else f"{bound:,}"


def default(field: FieldInfo) -> str:
    """Say what a key is when it is left out."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value == {}:
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else 'null' if value is None else value}`"


def table(head: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> str:
    """Return a markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def main(arguments: Sequence[str]) -> int:
    """Write the page; with `--check` only say whether it is up to date, as exit code 0 or 1.

    Writes: docs/reference.md.
    """
    if arguments not in ([], ["--check"]):
        print("usage: python docs/generate.py [--check]", file=sys.stderr)
        return 2
    text = reference()
    if not arguments:
        REFERENCE.write_text(text, encoding="utf-8")
    elif not REFERENCE.is_file() or REFERENCE.read_text(encoding="utf-8") != text:
        print(f"{REFERENCE.name} is not what the code says: run `make docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
