"""What `tracker doctor` looks at: can this machine run a sweep, and if not, what would mend it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil
import torch
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tracker.ledger.ledger import Ledger, StudyCounts
from tracker.study.errors import DeviceError, SourceError, TrackerError, UsageError
from tracker.study.home import Home
from tracker.study.study import Study
from tracker.sweep.sources import jobs_of, source_job
from tracker.tracking.client import check_reachable
from tracker.tracking.server import URI_VARIABLE
from tracker.tracking.server import status as server_status
from tracker.training.device import resolve_device
from tracker.vision.datasets import datasets_of, describe
from tracker.vision.sources import find_source, weights_file

DISTRIBUTION = "norm-tracker"
PACKAGES = ("torch", "torchvision", "mlflow", "optuna", "sqlalchemy", "click")

LOW_DISK_BYTES = 5 << 30
"""Under this a longer sweep may run out of disk: a checkpoint of densenet161 takes 0.1 GB a cell."""

NO_DISK_BYTES = 1 << 30
"""Under this a sweep does not start."""

REACH_SECONDS = 5

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Args:
        level: ok; warning: a sweep runs, but worse than it could; problem: it does not.
        cure: what to do about it; None where nothing need be done.
    """

    topic: str
    level: Level
    message: str
    cure: str | None = None


def check_up(home: Home, device: str = "auto", study: Study | None = None) -> Iterator[Finding]:
    """Look at everything a sweep needs, and yield each finding as it is made.

    Args:
        device: the one to look at: `auto`, `cpu`, `cuda` or `cuda:N`.
        study: also look for its datasets and sources.

    Raises:
        UsageError: a device or a study that no machine could have.
    """
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("python", check_python),
        ("packages", check_packages),
        ("device", partial(check_device, device)),
        ("disk", partial(check_disk, home)),
        ("trials", partial(check_trials, home)),
        ("tracking", partial(check_tracking, home)),
        ("weights", partial(check_weights, home)),
    ]
    if study is not None:
        checks += [("datasets", partial(check_datasets, study, home)), ("sources", partial(check_sources, study, home))]
    for topic, check in checks:
        try:
            yield from check()
        except UsageError:  # the study or an option is wrong, whatever the machine
            raise
        except TrackerError as error:
            yield Finding(topic, "problem", error.message, error.cure)
        except metadata.PackageNotFoundError as error:
            yield Finding(topic, "problem", f"{error.name} is not installed here", "pip install -e . in its folder")


def check_python() -> Iterator[Finding]:
    """Compare the interpreter with what the package asks for."""
    asked = metadata.metadata(DISTRIBUTION)["Requires-Python"]
    version = platform.python_version()
    text = f"{version} on {platform.system()} {platform.machine()}"
    if SpecifierSet(asked).contains(version, prereleases=True):
        yield Finding("python", "ok", text)
    else:
        yield Finding("python", "problem", f"{text}; needed: {asked}", "make a virtual environment with a newer Python")


def check_packages() -> Iterator[Finding]:
    """Compare the packages that matter most with the bounds the package declares."""
    asked = {req.name: req for req in map(Requirement, metadata.requires(DISTRIBUTION) or []) if not req.marker}
    for name in PACKAGES:
        bound = asked[name].specifier
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding(name, "problem", f"not installed; needed: {bound}", f"pip install '{name}{bound}'")
            continue
        if bound.contains(version, prereleases=True):
            yield Finding(name, "ok", version)
        else:
            yield Finding(name, "problem", f"{version}; needed: {bound}", f"pip install --upgrade '{name}{bound}'")


def check_device(name: str) -> Iterator[Finding]:
    """Look at the device a sweep would use, and at the CPU."""
    with warnings.catch_warnings(record=True) as caught:  # torch warns of an old driver and goes on without CUDA
        warnings.simplefilter("always")
        has_cuda = torch.cuda.is_available()
    for warning in caught:
        yield Finding("device", "warning", str(warning.message).split("\n")[0], "update the NVIDIA driver")
    yield Finding("cpu", "ok", describe_cpu())
    cards = nvidia_smi("name")
    if cards and not has_cuda:
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a build without CUDA"
        message = f"{', '.join(cards)}, but torch {torch.__version__} cannot use it: it is {built}"
        yield Finding("device", "warning", message, "install a CUDA build of torch that suits the driver")
    try:
        device = resolve_device(name)
    except DeviceError as error:
        yield Finding("device", "problem", error.message, error.cure)
        return
    if device.type == "cpu":
        why = "asked for" if name == "cpu" else "there is no CUDA device"
        yield Finding("device", "ok", f"cpu ({why})")
        return
    try:
        free, total = torch.cuda.mem_get_info(device)
    except RuntimeError as error:  # a card that is broken, or that another process holds alone
        message = str(error).strip().split("\n")[0]
        yield Finding("device", "problem", f"{device}: {message}", "see nvidia-smi, or choose another with --device")
        return
    driver = (nvidia_smi("driver_version") or ["unknown"])[0]
    yield Finding(
        "device",
        "ok" if free > total / 2 else "warning",
        f"{device}: {torch.cuda.get_device_name(device)}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free, "
        f"driver {driver}, CUDA {torch.version.cuda}, bf16 {'yes' if torch.cuda.is_bf16_supported() else 'no'}; "
        f"{torch.cuda.device_count()} in all",
        None if free > total / 2 else "something else uses it: see nvidia-smi, or choose another with --device",
    )


def describe_cpu() -> str:
    """Return cores, threads, vector unit, bf16 in hardware, and memory."""
    abilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.11 has no such function
    known = [present for ability, present in abilities.items() if ability.endswith("bf16")]
    bf16 = ("yes" if any(known) else "no") if known else "unknown"
    memory = psutil.virtual_memory()
    return (
        f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} cores usable, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, bf16 {bf16}, "
        f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB memory free"
    )


def nvidia_smi(field: str) -> list[str]:
    """Ask the driver about each card; empty where there is no driver."""
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=REACH_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def check_disk(home: Home) -> Iterator[Finding]:
    """See whether home can be written to, and how much room there is; home need not exist yet."""
    there = next(folder for folder in (home.root, *home.root.parents) if folder.exists())
    elsewhere = "another place: --home DIR or TRACKER_HOME=DIR"
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        yield Finding("disk", "problem", f"{there}: cannot be written to: {error.strerror}", elsewhere)
        return
    free = shutil.disk_usage(there).free
    level: Level = "problem" if free < NO_DISK_BYTES else "warning" if free < LOW_DISK_BYTES else "ok"
    cure = None if level == "ok" else f"free some space, or {elsewhere}"
    yield Finding("disk", level, f"{home.root}: {free / 2**30:.1f} GiB free, writable", cure)


def check_trials(home: Home) -> Iterator[Finding]:
    """Open the trial database, and look for cells whose worker is gone."""
    if not home.trials_db.exists():
        yield Finding("trials", "ok", f"{home.trials_db}: not there yet; the first sweep makes it")
        return
    with Ledger.local(home) as ledger:
        studies, mode = ledger.studies(), ledger.journal_mode
        cells = sum(study.cells for study in studies)
        text = f"{home.trials_db}: schema {ledger.schema}, {mode} mode, {len(studies)} studies, {cells} cells"
        if mode == "wal":
            yield Finding("trials", "ok", text)
        else:
            cure = "several workers need a local disk (no network file system) for SQLite: --home DIR"
            yield Finding("trials", "warning", text, cure)
    yield from map(_lost, (study for study in studies if study.lost))


def _lost(study: StudyCounts) -> Finding:
    message = f"study {study.study}: {study.lost} of {study.cells} cells are RUNNING without a living worker"
    return Finding("trials", "warning", message, f"tracker sweep --study {study.study}")


def check_tracking(home: Home) -> Iterator[Finding]:
    """Look at the MLflow server a sweep would use."""
    if given := os.environ.get(URI_VARIABLE):
        yield _reach(given, f"{URI_VARIABLE}={given}")
        return
    local = server_status(home)
    if local.running and local.uri is not None:
        yield _reach(local.uri, f"the local server at {local.uri} (pid {local.pid})")
    elif local.database.exists():
        size = local.database.stat().st_size / 2**20
        yield Finding("tracking", "ok", f"{local.database} ({size:.1f} MiB); no server runs, a sweep starts its own")
    else:
        yield Finding("tracking", "ok", "no server runs; a sweep starts its own")


def _reach(uri: str, name: str) -> Finding:
    try:
        check_reachable(uri, REACH_SECONDS)
    except TrackerError as error:
        return Finding("tracking", "problem", f"{name}: {error.message}", error.cure)
    there, here = server_version(uri), metadata.version("mlflow")
    if there is None or there == here:
        return Finding("tracking", "ok", f"{name} answers" + (f", MLflow {there}" if there else ""))
    cure = f"use the same version on both sides: pip install mlflow=={there}"
    return Finding("tracking", "warning", f"{name} answers, but is MLflow {there}, and here is {here}", cure)


def server_version(uri: str) -> str | None:
    """Return what an MLflow server says its version is; None for a file, or a server that does not say."""
    if not uri.startswith(("http://", "https://")):
        return None
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/version", timeout=REACH_SECONDS) as answer:  # noqa: S310 (http only)
            text = answer.read(100).decode("ascii", "replace").strip()
    except OSError:
        return None
    return text if re.fullmatch(r"\d+\.\d+[\w.]*", text) else None


def check_weights(home: Home) -> Iterator[Finding]:
    """Say where torchvision's weights are looked for, and how many there are."""
    for folder in (Path(torch.hub.get_dir()) / "checkpoints", home.weights):
        files = sorted(folder.glob("*.pth"))
        size = sum(file.stat().st_size for file in files) / 2**20
        if files or folder != home.weights:
            yield Finding("weights", "ok", f"{folder}: {len(files)} files, {size:.0f} MiB")


def check_datasets(study: Study, home: Home) -> Iterator[Finding]:
    """Say which image sets of a study are here."""
    for name, spec in datasets_of(study.cells).items():
        state = describe(name, spec, home)
        if state.state == "ready":
            yield Finding("datasets", "ok", f"{name}: ready, {state.train:,} + {state.test:,} images")
        elif state.state == "raw":
            yield Finding("datasets", "ok", f"{name}: here as files, packed at first use")
        else:
            yield Finding("datasets", "problem", state.problem or f"{name}: {state.state}", state.cure)


def check_sources(study: Study, home: Home) -> Iterator[Finding]:
    """Say which starting weights of a study are here."""
    for job in jobs_of(study.cells):
        what = f"{job.name} for {job.recipe.model}"
        made = "ready" if job.path(home).is_file() else "not there yet; a sweep pre-trains it first"
        yield Finding("sources", "ok", f"{what}: {made}")
    others = [cell.recipe for cell in study.cells if source_job(cell) is None and cell.recipe.source != "random"]
    for model, source, weights in dict.fromkeys((recipe.model, recipe.source, recipe.weights) for recipe in others):
        try:
            if source == "torchvision":
                file = weights_file(model, weights, home=home)
                if not file.path.is_file():
                    raise file.missing
                path = file.path
            else:
                path = find_source(home, source, model)
            yield Finding("sources", "ok", f"{source} for {model}: {path}")
        except SourceError as error:
            yield Finding("sources", "problem", error.message, error.cure)
