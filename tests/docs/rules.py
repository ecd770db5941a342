"""What a test puts in the place of what is not here, and what it does not run, each with a reason.

A page's commands run in a folder of their own with the stand-ins of `standins.py`: small studies with the
names of the real ones. So most lines run as they stand. The first rule that fits wins for NOT_RUN; all of
INSTEAD are applied, one after another. A page is a glob pattern.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatch


@dataclass(frozen=True)
class NotRun:
    """Lines that cannot run in a test."""

    page: str
    line: str
    reason: str


@dataclass(frozen=True)
class Instead:
    """A piece of a line, and what is put in its place; {names} are those of `Stage.values`."""

    page: str
    piece: str
    put: str


NOT_RUN = (
    NotRun("*", r"^make |^source \.venv", "makes an environment of its own, or runs all tests"),
    NotRun("*", r"^pip install|^uv ", "changes the environment that the tests run in"),
    NotRun(
        "*", r"\bdocker\b|^compose |^alias compose", "needs a Docker engine; tests/docker runs the services' commands"
    ),
    NotRun("*", r"-m benchmarks\.", "measures, for minutes to hours; benchmarks/README.md"),
    NotRun("*", r"tracker server \w+ .*--team\b", "sets up a team's server; tests/tracking does it"),
    NotRun("server.md", r"mlflow\.example\.org|MLFLOW_", "sets up a team's server; tests/tracking does it"),
    NotRun("*", r"^tracker dashboard", "serves until it is ended; a test of its own looks at it in a browser"),
    NotRun("*", r"^git ", "needs the repository's remote"),
    NotRun("*", r"^kubectl ", "needs Kubernetes"),
    NotRun("*", r"#SBATCH|^sbatch |^srun ", "needs SLURM"),
    NotRun("*", r"--executor ray", "needs Ray and a network of its own; tests/sweep/executors runs it"),
    NotRun("*", r"^createuser|^createdb|^pg_", "needs an account of the PostgreSQL server's owner"),
    NotRun(
        "*",
        r"data fetch --weights|data fetch \w+ --weights|--mirror",
        "downloads; tests/vision has a server of its own",
    ),
    NotRun("gpu.md", r"^nvidia-smi|GPU-UUID|nvidia-cuda-mps-control", "needs a card"),
    NotRun("gpu.md", r"^tmux |^systemctl |^journalctl |^loginctl ", "needs tmux, or systemd"),
    NotRun("laptop.md", r"^systemd-inhibit |^caffeinate ", "needs systemd, or macOS"),
    NotRun("*", r"retry .*--device GPU-UUID", "needs a card that failed; tests/sweep has one"),
    NotRun("clusters.md", r"--device cuda", "needs a card"),
    NotRun("performance.md", r"pytest -m cuda", "needs a card"),
    NotRun("*", r"--against published", "needs the reference study, 64 cells on a GPU; tests/compare has its results"),
    NotRun("extending.md", r".", "needs an installed package; tests/test_extending.py installs and runs it"),
    NotRun(
        "results.md", r"--study (?!quickstart|cifar10-folder)", "hours on a CPU; the commands are those of other pages"
    ),
    NotRun("why-normalize.md", r".", "hours on a CPU; the commands are those of other pages"),
    NotRun("licences.md", r"pip-licenses|licences", "`make check` runs it"),
    NotRun(
        "operations*.md",
        r"TRACKER_STORAGE|MLFLOW_|restore backups$|restore /backups$",
        "PostgreSQL, or another machine; tests/operations does it",
    ),
    NotRun("*", r"pip-audit", "`make check` runs it, with a network"),
    NotRun(
        "*",
        r"add_user\.py|\balice\b|~/secrets|mkdir -p ~|openssl",
        "sets up a team's server; tests/tracking/test_server_team.py does it",
    ),
    NotRun(
        "*",
        r"^ssh |^scp |^rsync |^sudo |^systemctl |^journalctl |^loginctl |^crontab ",
        "needs another machine, or root",
    ),
)

INSTEAD = (
    Instead("*", r"\.venv/bin/tracker", "tracker"),
    Instead("*", r"--device cuda(:\d+)?", "--device cpu"),
    Instead("*", r"CUDA_VISIBLE_DEVICES=\S+ ", ""),
    Instead("*", r"cuda:\d", "cpu"),
    Instead("*", r"densenet161/(svhn|tiny-imagenet-200)|resnet18/cifar10", "resnet18/small"),
    Instead("*", r"dataset=cifar10", "dataset=small"),
    Instead("*", r"(data (?:stats|fetch|verify)) cifar10", r"\1 digits"),
    Instead("*", r"--where model=resnet18 ", ""),
    Instead("*", r"--cell [0-9a-f]{12}|--cell ID", "--cell {cell}"),
    Instead(
        "*", r"tracker bench\b[^#>]*", "tracker bench --models squeezenet1_1 --batch-size 4 --batches 1 --times 1 "
    ),
    Instead("*", r"--limit-train \d+", "--limit-train 40"),
    Instead("*", r"--limit-test \d+", "--limit-test 40"),
    Instead("*", r"epochs=20,30|epochs=4,8", "epochs=1,2"),
    Instead("*", r"epochs=(?!1,2)\d+", "epochs=2"),
    Instead("*", r"seed=1,2,3[,\d]*", "seed=1,2,3"),
    Instead("*", r"seed=223,224,225", "seed=223,224"),
    Instead("*", r"--max-seeds \d+", "--max-seeds 3"),
    Instead("*", r"--until-decided(?!.*--max-seeds)", "--until-decided --max-seeds 3"),
    # The lines before it are three ways on, of which the last left another recipe.
    Instead("studies.md", r"--until-decided", "--until-decided --replace"),
    # Paused by the list of commands before it.
    Instead("README.md", r"(tracker sweep --study norm-test) +# needs CUDA", r"\1 --resume  # needs CUDA"),
    Instead("*", r"--max-idle \d+", "--max-idle 2"),
    Instead("*", r"(tracker worker (?!.*--max-idle|.*--burst)[^#]*?)(\s*#|$)", r"\1 --max-idle 2\2"),
    Instead(
        "*",
        r"tracker advise (?:FOLDER|animals\S*|photos)(.*--look)",
        r"tracker advise photos\1 --source random:squeezenet1_1",
    ),
    Instead("*", r" --source (vehicles|my-digits|resnet50)\b", ""),
    Instead("*", r"--budget \S+|--tune head (?=--budget)", ""),
    Instead("*", r"(tracker advise .*)--tune head", r"\1"),
    Instead(
        "*",
        r"tracker advise (?:FOLDER|animals\S*|photos)(?!.*--look)",
        "tracker advise photos --source random:squeezenet1_1 --tune head --image-size 32 --budget 3m",
    ),
    Instead("*", r"--set \"?'?datasets\.\*\.path=[^\s'\"]+['\"]?", "--set datasets.*.path=photos"),
    Instead("*", r"datasets\.flowers\.path=\S+", "datasets.flowers.path=photos"),
    Instead("*", r"--run-id RUN_ID", "--run-id {run}"),
    Instead("*", r"--study NAME", "--study quickstart"),
    Instead("*", r"-o (model|winner|served)\b(?!.*--overwrite)", r"-o \1 --overwrite"),
    Instead("*", r"postgresql\+psycopg://\S+/trials", "{trials}"),
    Instead("*", r"http://mlflow\.example\.org:5000", "http://127.0.0.1:{mlflow_port}"),
    Instead("laptop.md", r"TRACKER_HOME=~/tracker", "TRACKER_HOME=$PWD/mlruns"),
    Instead("*", r" --follow\b", ""),
    Instead("*", r"127\.0\.0\.1:5001", "127.0.0.1:{serve_port}"),
    Instead("*", r"--port 5001", "--port {serve_port}"),
    Instead("*", r"(?<=\s)/backups", "backups"),
    Instead("*", r"import-runs norm-test\.bundle", "import-runs norm-test.bundle --home elsewhere"),
    Instead("operations*.md", r"--home /data/tracker", "--home restored"),
)


BACKGROUND = (r"mlflow server ", r"mlflow models serve ")
"""Servers that a page starts in a terminal of their own: started, waited for, ended with the page."""

ENDS_WITH = {
    # a sweep of some thirty images is rarely decided, and a worker of a study that is done has nothing to do
    r"^tracker advise (?!.*--look)": (0, 1),
    r"^tracker doctor": (0, 1),  # what it finds here is another test's matter
    r"tracker worker .*--max-cells": (0, 1),
}
"""Exit codes of commands that do not end with 0 alone."""

PROLOGUE = {
    "README.md": ["sweep norm-test"],
    "laptop.md": ["sweep quickstart"],
    "gpu.md": ["enroll norm-test"],
    "clusters.md": ["postgresql", "mlflow"],
    "recovery.md": ["sweep norm-test", "sweep quickstart"],
    "troubleshooting.md": ["enroll quickstart"],
    "export.md": ["sweep quickstart", "sweep norm-test"],
    "operations.md": ["sweep quickstart", "enroll norm-test"],
    "operations-moving.md": ["enroll norm-test"],
    "server.md": ["sweep quickstart"],
    "browsing.md": ["sweep quickstart", "address"],
}
"""What has been done when a page begins."""


def why_not(page: str, line: str) -> str | None:
    """Return why a line is not run; None for one that is."""
    return next((rule.reason for rule in NOT_RUN if fnmatch(page, rule.page) and re.search(rule.line, line)), None)


def instead(page: str, line: str, values: dict[str, str]) -> str:
    """Return what is run for a line."""
    for rule in INSTEAD:
        if fnmatch(page, rule.page):
            line = re.sub(rule.piece, rule.put, line)
    for name, value in values.items():
        line = line.replace(f"{{{name}}}", value)
    return line
